"""What receipts and kept results cost a job: seconds with and without them, bytes a row, and a night on which little has changed.

    python3 tests/bench/receipts.py SENSORIUM receipts [--rounds 3] [--tasks trees,pictures]
    python3 tests/bench/receipts.py SENSORIUM incremental [--rows 200000] [--share 0.01]

SENSORIUM is the release command. `receipts` needs the data and models that `compare.py floor` has made; the two jobs take turns, each a
process of its own. `incremental` needs `sensorium setup`: it embeds notes of its own making, changes some, and runs the next night; the
same night is run once more without anything changed, and its scan is measured as a query that calls no model.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from jobs import TASKS
from tasks import data_folder


def seconds(command: list) -> float:
    start = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - start


def write_job(folder: Path, name: str, models: str, table: Path, query: str, more: str) -> Path:
    (folder / f"{name}.sql").write_text(query)
    text = f"models = '{models}'\nkey = ['id']\n{more}\ninputs = {{ rows = '{table}' }}\nsink = {{ path = '{name}' }}\n"
    (folder / f"{name}.toml").write_text(text)
    return folder / f"{name}.toml"


def receipts(asked: argparse.Namespace) -> None:
    print("| | without, s | with, s | cost | bytes a row |\n|---|---|---|---|---|")
    for task in asked.tasks.split(","):
        table, query = data_folder() / TASKS[task][0], TASKS[task][1]
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            models = data_folder() / "catalog"
            jobs = {
                kind: write_job(folder, kind, models, table, query, f"cache = ''\nreceipts = {kind}") for kind in ("false", "true")
            }
            times: dict[str, list] = {"false": [], "true": []}
            for number in range(asked.rounds):
                date = f"2026-01-{number + 1:02}"
                for kind, job in jobs.items():
                    run = [asked.sensorium, "job", "run", job, "--date", date, "--ledger", folder / "ledger.sqlite", "-q"]
                    times[kind].append(seconds(run))
            sizes = {kind: (folder / kind / "run_date=2026-01-01" / f"{kind}.parquet").stat().st_size for kind in jobs}
            count = f"SELECT count(*) FROM '{folder}/true/run_date=2026-01-01/true.parquet'"
            rows = subprocess.run([asked.sensorium, "sql", "-q", "--format", "csv", "-c", count], check=True, capture_output=True, text=True, cwd=folder)
            rows = int(rows.stdout.split()[-1])
            cost = statistics.median(w / o for w, o in zip(times["true"], times["false"])) - 1
            without, with_them = statistics.median(times["false"]), statistics.median(times["true"])
            print(f"| {task} | {without:.2f} | {with_them:.2f} | {100 * cost:+.1f}% | {(sizes['true'] - sizes['false']) / rows:.1f} |", flush=True)


def incremental(asked: argparse.Namespace) -> None:
    cache = Path(os.environ.get("SENSORIUM_CACHE", Path.home() / ".cache" / "sensorium"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        models = folder / "models"
        sql = [asked.sensorium, "sql", "-q", "--models", models, "--format", "csv"]

        def notes(night: int) -> None:
            """As many notes as rows, all different; every so manieth is another one each night."""
            every = round(1 / asked.share)
            query = f"""COPY (SELECT value AS id, 'Loan ' || value || ' of customer ' || (value * 7919 % 100003) || ': ' ||
                CASE value % 4 WHEN 0 THEN 'pays in time' WHEN 1 THEN 'asked for more time to pay' WHEN 2 THEN 'moved to another city' ELSE 'opened a shop' END ||
                CASE WHEN value % {every} = 0 THEN ', seen on night {night}' ELSE '' END AS note
                FROM generate_series(1, {asked.rows})) TO '{folder}/rows.parquet' STORED AS PARQUET"""
            subprocess.run([*sql, "-c", query], check=True, capture_output=True)

        subprocess.run([*sql, "-c", f"CREATE MODEL minilm FROM '{cache}/models/minilm'"], check=True, capture_output=True)
        query = "SELECT id, mm_embed('minilm', note) AS vector FROM rows"
        job = write_job(folder, "notes", models, folder / "rows.parquet", query, "cache = 'kept'")

        def night(number: int) -> float:
            return seconds([asked.sensorium, "job", "run", job, "--date", f"2026-01-{number:02}", "--ledger", folder / "ledger.sqlite", "-q"])

        notes(1)
        first = night(1)
        notes(2)
        second, same = night(2), night(3)
        scan = seconds([*sql, "--table", f"rows={folder}/rows.parquet", "--output", folder / "scan.parquet", "-c", "SELECT id, note FROM rows"])
        hits = "SELECT run_date, rows_out, cached, seconds FROM mm_runs() ORDER BY run_date"
        told = subprocess.run([*sql, "--ledger", folder / "ledger.sqlite", "-c", hits], check=True, capture_output=True, text=True)
        print(told.stdout)
        print(f"{asked.rows} rows: first night {first:.2f} s; {asked.share:.1%} changed {second:.2f} s; nothing changed {same:.2f} s; scan {scan:.2f} s")
        print(f"share of a full run: {second / first:.4f}, less the scan {(second - scan) / first:.4f}; kept results {sum(f.stat().st_size for f in (folder / 'kept').iterdir()) / 2**20:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sensorium")
    parser.add_argument("what", choices=["receipts", "incremental"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", default="trees,pictures")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--share", type=float, default=0.01)
    asked = parser.parse_args()
    (receipts if asked.what == "receipts" else incremental)(asked)


if __name__ == "__main__":
    main()
