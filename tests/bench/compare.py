"""Measures Sensorium beside the bare model and beside other engines; prints tables.

`python compare.py floor` compares SQL with its floor: the scan without a model, bare tokenizing or decoding on all
cores, and the bare model in its best batch and thread layout (benches/floor.rs); also with the bare model in Python.
`python compare.py peers` runs the same question in other engines, to the final Parquet file.

Every run is a process of its own, all contestants of a workload take turns in each round, and the medians of the rounds
are compared, so that a machine whose speed drifts is as unfair to everyone. `--rounds`, `--tasks`, `--peers` choose;
each run is a line of results.jsonl below the folder of the data, and `--table` prints what is there. Makes the data and
an environment for Python at its first run.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import venv
from pathlib import Path

from tasks import cache, data_folder, package

HERE, ROOT = Path(__file__).parent, Path(__file__).parent.parent.parent
PEERS = ["sensorium", "script", "polars", "daft", "duckdb", "datafusion", "ray", "spark"]
TIMEOUT_S = 900
python = cache() / "bench-python" / "bin" / "python"


def prepare() -> None:
    if not python.exists():
        venv.create(python.parent.parent, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--requirement", HERE / "requirements.txt"], check=True)
    for command in (["build", "--release", "--bin", "sensorium"], ["bench", "--no-run", "--bench", "floor"]):
        subprocess.run(["cargo", *command, "--quiet"], cwd=ROOT, check=True)
    subprocess.run([binary(), "setup"], check=True)
    subprocess.run([python, HERE / "make_data.py", data_folder()], check=True)


def target_folder() -> Path:
    found = subprocess.run(["cargo", "metadata", "--format-version=1", "--no-deps"], cwd=ROOT, check=True, capture_output=True)
    return Path(json.loads(found.stdout)["target_directory"])


def binary() -> Path:
    return target_folder() / "release" / "sensorium"


def floor_binary() -> Path:
    made = [path for path in (target_folder() / "release" / "deps").glob("floor-*") if not path.suffix]
    return max(made, key=lambda path: path.stat().st_mtime)


def tree(root: int) -> list:
    """The process and all its descendants."""
    children = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            children.setdefault(int(place.read_text().rsplit(")", 1)[1].split()[1]), []).append(int(place.parent.name))
        except OSError:
            pass
    found, open_ = [], [root]
    while open_:
        found.append(open_.pop())
        open_ += children.get(found[-1], [])
    return found


def memory(root: int) -> int:
    """Bytes of the process and its descendants, shared pages counted once."""
    total = 0
    for process in tree(root):
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
        except (OSError, StopIteration):
            pass
    return total


def run(command: list) -> dict:
    """Output, errors and peak memory of a command."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen([str(part) for part in command], stdout=out, stderr=err, start_new_session=True, cwd=tempfile.gettempdir())
        timer = threading.Timer(TIMEOUT_S, process.kill)
        timer.start()
        peak = 0
        while process.poll() is None:
            peak = max(peak, memory(process.pid))
            time.sleep(0.1)
        timer.cancel()
        out.seek(0), err.seek(0)
        return {"code": process.returncode, "out": out.read().decode(), "err": err.read().decode(), "peak": peak}


def last_json(found: dict) -> dict:
    lines = [line for line in found["out"].splitlines() if line.startswith("{")]
    if found["code"] != 0 or not lines:
        return {"error": (found["err"].strip().splitlines() or ["no output"])[-1][:200]}
    return json.loads(lines[-1])


def table_of(task, rows: int, place: Path) -> Path:
    """The workload's table, cut to `rows`; the cut one is kept."""
    import pyarrow.parquet as pq

    whole = data_folder() / f"{task.table}.parquet"
    if rows >= pq.ParquetFile(whole).metadata.num_rows:
        return whole
    cut = place / f"{task.table}-{rows}.parquet"
    if not cut.exists():
        pq.write_table(pq.read_table(whole).slice(0, rows), cut, row_group_size=max(rows // 4, 1))
    return cut


def sensorium(task, query: str, table: Path, target: Path | None = None) -> dict:
    """The command that users run: the model is created and loaded by earlier statements of the script."""
    with tempfile.TemporaryDirectory() as place:
        script = Path(place) / "script.sql"
        first = f"SELECT * FROM ({task.select.format(table=table)}) LIMIT 1"
        # A table that was cut lies in another folder than its pictures.
        statements = [f"SET mm.allowed_roots = '{data_folder()}'", f"CREATE MODEL IF NOT EXISTS {task.model} FROM '{package(task.package)}'", "SET mm.cache_bytes = 0", first,
                      "SET mm.cache_bytes = 268435456", query.format(table=table)]
        script.write_text(";\n".join(statements))
        command = [binary(), "sql", "--models", data_folder() / "catalog", "-f", script]
        found = run(command + (["--output", target] if target else []))
    times = re.findall(r" in ([0-9.]+) s$", found["err"], re.MULTILINE)
    if found["code"] != 0 or not times:
        return {"error": found["err"].strip()[-300:]}
    return {"seconds": float(times[-1]), "peak": found["peak"]}


def floor_round(name: str, task, settings: dict) -> dict:
    """One round: our SQL, the scan, and for each part of the floor the bare model in Rust and in Python."""
    table = data_folder() / f"{task.table}.parquet"
    found = {"sql": sensorium(task, task.consume, table), "scan": sensorium(task, task.scan, table)}
    for place, part in enumerate(task.parts):
        own = [package(part.package), data_folder() / f"{part.table}.parquet", part.columns]
        key = (name, place)
        command = [floor_binary(), *own, "--output", part.output]
        bare = last_json(run(command + (["--setting", settings[key]] if key in settings else [])))
        found[f"rust {place}"] = bare
        if "setting" in bare:
            settings[key] = bare["setting"]
            found[f"python {place}"] = last_json(run([python, HERE / "bare.py", *own, part.output, bare["setting"], bare["rows"]]))
    return found


def agree(task: str, target: Path, reference: Path) -> str:
    """How close an answer is to our own."""
    import numpy as np
    import pyarrow.dataset as ds

    read = lambda path: ds.dataset(path).to_table().sort_by("id")
    own, other = read(reference), read(target)
    if own.num_rows != other.num_rows:
        return f"{other.num_rows} rows for {own.num_rows}"
    if task in ("text", "duplicates"):
        flat = lambda table: np.array(table["embedding"].to_pylist(), np.float32)
        return f"cosine {(flat(own) * flat(other)).sum(1).min():.5f}"
    far = np.abs(np.asarray(own["score"].to_pylist(), float) - np.asarray(other["score"].to_pylist(), float)).max()
    return f"scores within {far:.1e}"


def peer_round(name: str, task, peers: list, place: Path) -> dict:
    table, found = table_of(task, task.rows, place), {}
    for peer in peers:
        target = place / f"{name}-{peer}.parquet"
        subprocess.run(["rm", "-rf", target], check=True)
        if peer == "sensorium":
            found[peer] = sensorium(task, task.select, table, target)
        else:
            done = run([python, HERE / "run_peer.py", peer, name, table, target])
            found[peer] = {**last_json(done), "peak": done["peak"]}
            reference = place / f"{name}-sensorium.parquet"
            if "error" not in found[peer] and reference.exists():
                found[peer]["agreement"] = agree(name, target, reference)
        subprocess.run(["pkill", "-f", "raylet"], check=False)
    return found


def median(rounds: list, key: str, value) -> float | None:
    values = [value(one[key]) for one in rounds if key in one and "error" not in one[key]]
    return statistics.median(values) if values else None


def floor_table(results: dict, all_tasks: dict) -> None:
    print("| workload | rows | SQL, s | scan, s | tokenize or decode, s | bare model, s | in Python, s | SQL / floor | spread | SQL / model | peak MB |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name, rounds in results.items():
        task = all_tasks[name]
        parts = range(len(task.parts))
        prepared = lambda one: sum(one[f"rust {place}"]["prepare_s"] for place in parts)
        model = lambda one: sum(one[f"rust {place}"]["model_s"] for place in parts)
        python_ = lambda one: sum(one[f"python {place}"]["model_s"] for place in parts)
        scan, sql = (lambda one: one["scan"]["seconds"]), (lambda one: one["sql"]["seconds"])
        good = [one for one in rounds if not any("error" in part for part in one.values())]
        if not good:
            print(f"| {name} | {task.full:,} | failed: {[part['error'] for part in rounds[-1].values() if 'error' in part]} |")
            continue
        middle = lambda value: statistics.median(map(value, good))
        ratios = [sql(one) / (scan(one) + prepared(one) + model(one)) for one in good]
        cells = [f"{middle(value):.2f}" for value in (sql, scan, prepared, model, python_)]
        print(f"| {name} | {task.full:,} | {' | '.join(cells)} | **{statistics.median(ratios):.2f}** | {min(ratios):.2f}-{max(ratios):.2f} "
              f"| {statistics.median(sql(one) / model(one) for one in good):.2f} | {middle(lambda one: one['sql']['peak']) / 2**20:,.0f} |")


def peer_table(results: dict, all_tasks: dict) -> None:
    for name, rounds in results.items():
        print(f"\n### {name}, {all_tasks[name].rows:,} rows\n\n| engine | runs | seconds | spread | x sensorium | peak MB | agreement |\n|---|---|---|---|---|---|---|")
        seconds = {peer: median(rounds, peer, lambda one: one["seconds"]) for peer in dict.fromkeys(peer for one in rounds for peer in one)}
        own = seconds.get("sensorium") or float("nan")
        for peer in sorted(seconds, key=lambda peer: seconds[peer] or float("inf")):
            runs = [one[peer] for one in rounds if peer in one and "error" not in one[peer]]
            if not runs:
                print(f"| {peer} | 0 | {[one[peer]['error'] for one in rounds if peer in one][-1][:100]} |")
                continue
            times = [one["seconds"] for one in runs]
            ratios = [one[peer]["seconds"] / one["sensorium"]["seconds"] for one in rounds if all("seconds" in one.get(who, {}) for who in (peer, "sensorium"))]
            print(f"| {peer} | {len(runs)} | {seconds[peer]:.2f} | {min(times):.2f}-{max(times):.2f} | {statistics.median(ratios) if ratios else seconds[peer] / own:.2f} "
                  f"| {statistics.median(one['peak'] for one in runs) / 2**20:,.0f} | {runs[-1].get('agreement', '')} |")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("what", choices=["floor", "peers"])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--tasks", type=lambda text: text.split(","))
    options.add_argument("--peers", type=lambda text: text.split(","), default=PEERS)
    options.add_argument("--table", action="store_true", help="only print what earlier runs found")
    options = options.parse_args()
    if Path(sys.executable) != python and not options.table:
        prepare()
        os.execv(python, [str(python), __file__, *sys.argv[1:]])
    from tasks import tasks

    all_tasks, kept = tasks(), data_folder() / f"{options.what}.jsonl"
    wanted = options.tasks or list(all_tasks)
    if not options.table:
        place, settings = data_folder() / "runs", {}
        place.mkdir(exist_ok=True)
        for round_ in range(options.rounds):
            for name in wanted:
                task = all_tasks[name]
                turned = options.peers[round_ % len(options.peers):] + options.peers[:round_ % len(options.peers)] if round_ else options.peers
                found = floor_round(name, task, settings) if options.what == "floor" else peer_round(name, task, turned, place)
                with kept.open("a") as file:
                    file.write(json.dumps({"task": name, **found}) + "\n")
                print(f"round {round_ + 1}, {name}: " + ", ".join(f"{who} {part.get('seconds', part.get('model_s', part.get('error')))}" for who, part in found.items()),
                      file=sys.stderr, flush=True)
    results = {}
    for line in kept.read_text().splitlines():
        found = json.loads(line)
        name = found.pop("task")
        if name in wanted:
            results.setdefault(name, []).append(found)
    (floor_table if options.what == "floor" else peer_table)(results, all_tasks)


if __name__ == "__main__":
    main()
