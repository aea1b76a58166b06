"""A query from Python beside the same query of the command: seconds, ratios within a round.

    python3 tests/bench/frames.py WHEEL [--rounds 3] [--tasks perceptron,trees,text,pictures]
    python3 tests/bench/frames.py WHEEL calls      # what 10,000 small calls cost
    python3 tests/bench/frames.py WHEEL memory     # peak memory of passing a gigabyte through, and of a scan of 50 gigabytes

WHEEL is what `pip wheel crates/sensorium-python` has made. Needs the data and models that `compare.py floor` has made, and its release
of the command. Each run is a process of its own; the ways take turns.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from measure import HERE, install, last_json, python, run, sensorium
from tasks import data_folder, tasks

WAYS = ["file", "frame", "lazy"]


def compare(names: list, rounds: int) -> None:
    all_tasks = tasks()
    print(f"| workload | command, s | {' | '.join(f'{way}, s | / command' for way in WAYS)} |\n|---|---|{'---|---|' * len(WAYS)}")
    for name in names:
        task, found = all_tasks[name], []
        for _ in range(rounds):
            own = {"command": sensorium(task, task.consume, data_folder() / f"{task.table}.parquet")}
            own |= {way: last_json(run([python, HERE / "frame_query.py", name, way])) for way in WAYS}
            print(name, own, file=sys.stderr, flush=True)
            found.append({way: one["seconds"] for way, one in own.items()})
        middle = lambda way: statistics.median(one[way] for one in found)
        ratio = lambda way: statistics.median(one[way] / one["command"] for one in found)
        print(f"| {name} | {middle('command'):.2f} | {' | '.join(f'{middle(way):.2f} | **{ratio(way):.3f}**' for way in WAYS)} |", flush=True)


CALLS = """
import json, time, polars as pl, sensorium, tempfile
session = sensorium.Session(models=tempfile.mkdtemp(), progress=False)
session.create_model("add", "tests/fixtures/tiny/add.onnx")
frame = pl.DataFrame({"a": [1.0], "b": [2.0]})
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
times, sizes = [], []
for number in range(10_000):
    start = time.perf_counter()
    frame.mm.predict("add", "a", "b")
    times.append(time.perf_counter() - start)
    if number in (999, 9_999):
        sizes.append(resident())
times.sort()
print(json.dumps({"median_ms": times[5_000] * 1e3, "p99_ms": times[9_900] * 1e3, "grown_bytes": sizes[1] - sizes[0], "rows": session.model_rows()}))
"""

PASSED = """
import gc, json, numpy, polars as pl, sensorium, tempfile
session = sensorium.Session(models=tempfile.mkdtemp(), progress=False)
session.sql("SELECT 1")
count = 12_000_000
frame = pl.DataFrame({f"x{place}": numpy.random.random(count) for place in range(6)}).with_columns(s=pl.format("a text of more than twelve bytes {}", pl.int_range(count)))
gc.collect()
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024
open("/proc/self/clear_refs", "w").write("5")
before = peak()
result = session.sql("SELECT * FROM frame", frame=frame)
print(json.dumps({"frame_bytes": frame.estimated_size(), "grown": (peak() - before) / frame.estimated_size(), "rows": result.height}))
"""

SCANNED = """
import json, polars as pl, pyarrow as pa, sensorium, tempfile
session = sensorium.Session(models=tempfile.mkdtemp(), progress=False, cache_bytes=0)
session.create_model("add", "tests/fixtures/tiny/add.onnx")
schema = pa.schema([("n", pa.int64()), ("text", pa.string())])
text = pa.array(["x" * 4_000] * 8_192)
def batches(gigabytes):
    for start in range(0, gigabytes * 2**30 // 4_012, 8_192):
        yield pa.RecordBatch.from_arrays([pa.array(range(start, start + 8_192)), text.take(pa.array(range(8_192)))], schema=schema)
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024
peaks = {}
for gigabytes in (1, 50):
    rows = pa.RecordBatchReader.from_batches(schema, batches(gigabytes))
    count = sum(part.height for part in session.stream("SELECT n, octet_length(text) AS l, mm_predict('add', n, 1).sum AS s FROM rows", rows=rows))
    peaks[gigabytes] = {"rows": count, "peak_mb": peak() >> 20}
print(json.dumps(peaks))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("what", nargs="?", choices=["compare", "calls", "memory"], default="compare")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", default="perceptron,trees,duplicates,pictures,text")
    asked = parser.parse_args()
    install(asked.wheel)
    if asked.what == "compare":
        return compare(asked.tasks.split(","), asked.rounds)
    for script in [CALLS] if asked.what == "calls" else [PASSED, SCANNED]:
        done = subprocess.run([python, "-c", script], cwd=HERE.parent.parent, check=True, capture_output=True, text=True)
        print(json.dumps(json.loads(done.stdout.splitlines()[-1])), flush=True)


if __name__ == "__main__":
    main()
