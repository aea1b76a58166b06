"""A job beside the same query by hand: seconds, and what the ledger takes.

    python3 tests/bench/jobs.py SENSORIUM [--rounds 3] [--tasks perceptron,trees,pictures] [--receipts]

SENSORIUM is the release command. Needs the data and models that `compare.py floor` has made. By hand the rows go to one Parquet file; the job
parts them into chunks of its own choice, writes each down, and puts one file together, by default without receipts; results that are kept
for later runs are off, as by hand. Each is a process of its own; they take turns.
"""

import argparse
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from tasks import data_folder

TASKS = {
    "perceptron": ("numbers.parquet", "SELECT id, mm_predict('perceptron', t.*) AS score FROM rows AS t"),
    "trees": ("numbers.parquet", "SELECT id, mm_predict('trees', t.*).probabilities[1] AS score FROM rows AS t"),
    "pictures": ("pictures.parquet", "SELECT id, mm_predict('efficientnet', path).label AS label FROM rows"),
}


def seconds(command: list) -> float:
    start = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sensorium")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--receipts", action="store_true")
    asked = parser.parse_args()
    kind = f"cache = ''\nreceipts = {str(asked.receipts).lower()}"
    models = data_folder() / "catalog"
    print("| | by hand, s | job, s | throughput | ledger, KiB |\n|---|---|---|---|---|")
    for task in asked.tasks.split(","):
        table, query = data_folder() / TASKS[task][0], TASKS[task][1]
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            (folder / "job.toml").write_text(f"models = '{models}'\nkey = ['id']\n{kind}\ninputs = {{ rows = '{table}' }}\nsink = {{ path = 'out' }}\n")
            (folder / "job.sql").write_text(query)
            settings = ["--models", models, "--set", "mm.allowed_roots=/", "--table", f"rows={table}"]
            pairs = []
            for number in range(asked.rounds):
                hand = seconds([asked.sensorium, "sql", "-q", *settings, "--output", folder / f"{number}.parquet", "-c", query])
                run = [asked.sensorium, "job", "run", folder / "job.toml", "--date", f"2026-01-{number + 1:02}"]
                pairs.append((hand, seconds([*run, "--ledger", folder / "ledger.sqlite", "-q"])))
            hands, jobs = zip(*pairs)
            throughput = statistics.median(hand / job for hand, job in pairs)
            ledger = (folder / "ledger.sqlite").stat().st_size // 1024
            print(f"| {task} | {statistics.median(hands):.2f} | {statistics.median(jobs):.2f} | {throughput:.3f} | {ledger} |", flush=True)


if __name__ == "__main__":
    main()
