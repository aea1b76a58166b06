"""Figures of a model over ten million rows beside DuckDB and Polars doing the same arithmetic.

    python3 tests/bench/metrics.py SENSORIUM [--rows 10000000] [--rounds 3]

SENSORIUM is the release command. Needs numpy, pyarrow, duckdb and polars. Scores are doubles, nearly all different, in one Parquet file. AUC and KS
need all scores in their order, the Brier score and accuracy only sums. Each run is a process of its own that reads the file; they take turns, and all must
agree within 1e-9.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from arguments import asked

DUCKDB = {
    "auc": """WITH steps AS (SELECT score, sum((NOT label)::INT) AS negative, sum(label::INT) AS positive FROM '{path}' GROUP BY score),
              below AS (SELECT negative, positive, sum(negative) OVER (ORDER BY score) - negative AS below FROM steps)
              SELECT sum(positive * (below + negative / 2.0)) / (sum(positive) * sum(negative)::DOUBLE) FROM below""",
    "ks": """WITH steps AS (SELECT score, sum((NOT label)::INT) AS negative, sum(label::INT) AS positive FROM '{path}' GROUP BY score),
             sums AS (SELECT sum(negative) OVER w AS n, sum(positive) OVER w AS p, sum(negative) OVER () AS alln, sum(positive) OVER () AS allp FROM steps WINDOW w AS (ORDER BY score))
             SELECT max(abs(n / alln - p / allp)) FROM sums""",
    "brier": "SELECT avg((score - label::INT) ** 2) FROM '{path}'",
    "accuracy": "SELECT avg(((score >= 0.5) = label)::INT) FROM '{path}'",
}
OWN = {"auc": "mm_auc(score, label)", "ks": "mm_ks(score, label)", "brier": "mm_brier(score, label)", "accuracy": "mm_accuracy(score, label)"}


def in_polars(figure: str, path: str) -> float:
    import polars as pl

    rows = pl.scan_parquet(path)
    if figure == "brier":
        return rows.select(((pl.col("score") - pl.col("label")) ** 2).mean()).collect().item()
    if figure == "accuracy":
        return rows.select(((pl.col("score") >= 0.5) == pl.col("label")).mean()).collect().item()
    steps = rows.group_by("score").agg(positive=pl.col("label").sum().cast(pl.Float64), all=pl.len().cast(pl.Float64)).sort("score")
    steps = steps.with_columns(negative=pl.col("all") - pl.col("positive"))
    negative, positive = pl.col("negative"), pl.col("positive")
    if figure == "auc":
        return steps.select((positive * (negative.cum_sum() - negative / 2)).sum() / (positive.sum() * negative.sum())).collect().item()
    return steps.select((negative.cum_sum() / negative.sum() - positive.cum_sum() / positive.sum()).abs().max()).collect().item()


def one(engine: str, figure: str, path: str) -> dict:
    start = time.monotonic()
    if engine == "duckdb":
        import duckdb

        start = time.monotonic()
        value = duckdb.sql(DUCKDB[figure].format(path=path)).fetchall()[0][0]
    else:
        import polars  # noqa: F401

        start = time.monotonic()
        value = in_polars(figure, path)
    return {"seconds": time.monotonic() - start, "value": float(value)}


def sensorium(command: str, figure: str, path: Path) -> dict:
    """The time is that which the command says of its query."""
    call = [command, "sql", "--set", "mm.allowed_roots=/", "--format", "jsonl", "-c", f"SELECT {OWN[figure]} AS value FROM '{path}'"]
    done = subprocess.run(call, check=True, capture_output=True, text=True)
    seconds = float(done.stderr.rsplit(" in ", 1)[1].split()[0])
    return {"seconds": seconds, "value": json.loads(done.stdout)["value"]}


def main() -> None:
    given = asked(__doc__, 10_000_000)
    if given.one:
        print(json.dumps(one(*given.one)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "scores.parquet"
        random = np.random.default_rng(1)
        score = random.random(given.rows)
        pq.write_table(pa.table({"score": score, "label": random.random(given.rows) < score}), path)
        print("| | Sensorium, s | DuckDB, s | Polars, s | largest difference |\n|---|---|---|---|---|")
        for figure in OWN:
            found: dict = {}
            for _ in range(given.rounds):
                found.setdefault("sensorium", []).append(sensorium(given.sensorium, figure, path))
                for engine in ("duckdb", "polars"):
                    call = [sys.executable, __file__, given.sensorium, "--one", engine, figure, str(path)]
                    found.setdefault(engine, []).append(json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout))
            median = {name: statistics.median(run["seconds"] for run in runs) for name, runs in found.items()}
            values = [runs[0]["value"] for runs in found.values()]
            print(f"| {figure} | {median['sensorium']:.2f} | {median['duckdb']:.2f} | {median['polars']:.2f} | {max(values) - min(values):.1e} |", flush=True)


if __name__ == "__main__":
    main()
