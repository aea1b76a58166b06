"""Runs commands as processes of their own and says what they took."""

import json
import os
import re
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from tasks import cache, data_folder, package

HERE, ROOT = Path(__file__).parent, Path(__file__).parent.parent.parent
TIMEOUT_S = 900
python = cache() / "bench-python" / "bin" / "python"


def target_folder() -> Path:
    found = subprocess.run(["cargo", "metadata", "--format-version=1", "--no-deps"], cwd=ROOT, check=True, capture_output=True)
    return Path(json.loads(found.stdout)["target_directory"])


def binary() -> Path:
    return target_folder() / "release" / "sensorium"


def bench_binary(name: str) -> Path:
    made = [path for path in (target_folder() / "release" / "deps").glob(f"{name}-*") if not path.suffix]
    return max(made, key=lambda path: path.stat().st_mtime)


def install(wheel: Path) -> None:
    """Has the environment for Python use this wheel of our package."""
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--force-reinstall", "--no-deps", wheel], check=True)


def shared_seconds(workers: list, jobs: list) -> float:
    """Seconds until all `jobs` are done; each of `workers`, functions of a job, has a thread and takes the next one."""
    rest, lock = list(jobs), threading.Lock()

    def work(run) -> None:
        while True:
            with lock:
                if not rest:
                    return
                job = rest.pop()
            run(job)

    threads = [threading.Thread(target=work, args=(run,)) for run in workers]
    start = time.perf_counter()
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return time.perf_counter() - start


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


def most_resident(process: int) -> int:
    """Bytes that the process had in memory at most, pages of files included."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
    except (OSError, StopIteration):
        return 0


def run(command: list) -> dict:
    """Output, errors and peak memory of a command: that of all its processes, sampled, and that of the first as the kernel keeps it."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen([str(part) for part in command], stdout=out, stderr=err, start_new_session=True, cwd=tempfile.gettempdir())
        timer = threading.Timer(TIMEOUT_S, process.kill)
        timer.start()
        peak, resident = 0, 0
        while process.poll() is None:
            peak, resident = max(peak, memory(process.pid)), max(resident, most_resident(process.pid))
            time.sleep(0.1)
        timer.cancel()
        out.seek(0), err.seek(0)
        return {"code": process.returncode, "out": out.read().decode(), "err": err.read().decode(), "peak": peak, "resident": resident}


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
        cut_table(whole, cut, slice(0, rows), max(rows // 4, 1))
    return cut


def cut_table(whole: Path, cut: Path, rows: slice, group: int) -> None:
    import pyarrow.parquet as pq

    pq.write_table(pq.read_table(whole).slice(rows.start, rows.stop - rows.start), cut, row_group_size=group)


def sensorium(task, query: str, table: Path, target: Path | None = None, cache_bytes: int = 256 << 20) -> dict:
    """The command that users run: the model is created and loaded by earlier statements of the script."""
    with tempfile.TemporaryDirectory() as place:
        script = Path(place) / "script.sql"
        first = f"SELECT * FROM ({task.select.format(table=table)}) LIMIT 1"
        # A table that was cut lies in another folder than its pictures.
        statements = [f"SET mm.allowed_roots = '{data_folder()}'", f"CREATE MODEL IF NOT EXISTS {task.model} FROM '{package(task.package)}'", "SET mm.cache_bytes = 0", first,
                      f"SET mm.cache_bytes = {cache_bytes}", query.format(table=table)]
        script.write_text(";\n".join(statements))
        command = [binary(), "sql", "--models", data_folder() / "catalog", "-f", script]
        found = run(command + (["--output", target] if target else []))
    times = re.findall(r" in ([0-9.]+) s$", found["err"], re.MULTILINE)
    if found["code"] != 0 or not times:
        return {"error": found["err"].strip()[-300:]}
    return {"seconds": float(times[-1]), "peak": found["peak"], "resident": found["resident"]}
