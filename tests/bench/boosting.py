"""Training a tree head in SQL beside LightGBM and scikit-learn on the same rows: time, peak memory, quality.

    python3 tests/bench/boosting.py SENSORIUM [--rows 100000] [--rounds 3]

SENSORIUM is the release command. Needs numpy, pyarrow, lightgbm and scikit-learn. The rows are made up: 30 numbers, a tenth of them missing in three
columns, and a label that follows from some of them. Every contestant starts from the same Parquet file, holds a fifth of the rows back to stop, and
may grow 1,000 trees of 15 leaves with a rate of 0.05 and two threads, and is then fitted to all rows; each run is a process of its own, and they take turns.
"""

import json
import resource
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

COLUMNS = 30


def make(rows: int, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, COLUMNS)).astype(np.float32)
    raw = x[:, 0] * x[:, 1] + np.sin(2 * x[:, 2]) + np.abs(x[:, 3]) - 0.5 * x[:, 4] + 0.3 * x[:, 5] * (x[:, 6] > 0)
    label = random.random(rows) < 1 / (1 + np.exp(-raw))
    x[:, :3][random.random((rows, 3)) < 0.1] = np.nan
    columns = {f"x{place}": pa.array(x[:, place], mask=np.isnan(x[:, place])) for place in range(COLUMNS)}
    return pa.table({**columns, "y": np.where(label, "yes", "no")})


def read(path: str) -> tuple:
    table = pq.read_table(path)
    return np.stack([table[f"x{place}"].to_numpy() for place in range(COLUMNS)], axis=1), np.array(table["y"].to_pylist()) == "yes"


def contestant(name: str, train: str, test: str) -> dict:
    """One fit in this process."""
    from sklearn.metrics import roc_auc_score

    start = time.monotonic()
    x, y = read(train)
    if name == "lightgbm":
        import lightgbm

        held = np.random.default_rng(0).random(len(y)) < 0.2
        model = lightgbm.LGBMClassifier(n_estimators=1000, learning_rate=0.05, num_leaves=15, num_threads=2, verbosity=-1)
        model.fit(x[~held], y[~held], eval_set=[(x[held], y[held])], callbacks=[lightgbm.early_stopping(30, verbose=False)])
        model = lightgbm.LGBMClassifier(n_estimators=model.best_iteration_, learning_rate=0.05, num_leaves=15, num_threads=2, verbosity=-1).fit(x, y)
        trees = model.n_estimators
    else:
        from sklearn.ensemble import HistGradientBoostingClassifier

        options = dict(learning_rate=0.05, max_leaf_nodes=15, random_state=0)
        model = HistGradientBoostingClassifier(max_iter=1000, early_stopping=True, validation_fraction=0.2, n_iter_no_change=30, **options).fit(x, y)
        trees = model.n_iter_
        model = HistGradientBoostingClassifier(max_iter=trees, early_stopping=False, **options).fit(x, y)
    seconds = time.monotonic() - start
    x, y = read(test)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "mb": memory, "auc": roc_auc_score(y, model.predict_proba(x)[:, 1]), "trees": int(trees)}


def sensorium(command: str, train: Path, test: Path) -> dict:
    with tempfile.TemporaryDirectory() as models:
        call = ["/usr/bin/env", command, "sql", "--models", models, "--quiet", "--set", "mm.allowed_roots=/", "--format", "jsonl"]
        create = f"CREATE MODEL m OPTIONS (label = 'y', head = 'trees', seed = 1) AS SELECT * FROM '{train}'"
        start = time.monotonic()
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        subprocess.run([*call, "-c", create], check=True, capture_output=True)
        seconds = time.monotonic() - start
        memory = max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024
        figure = f"SELECT mm_auc(mm_predict('m', t.*).probabilities['yes'], y = 'yes') AS auc FROM '{test}' AS t"
        auc = json.loads(subprocess.run([*call, "-c", figure], check=True, capture_output=True, text=True).stdout)["auc"]
    return {"seconds": seconds, "mb": memory, "auc": auc}


def main() -> None:
    given = asked(__doc__, 100_000)
    if given.one:
        print(json.dumps(contestant(*given.one)))
        return
    found: dict = {}
    with tempfile.TemporaryDirectory() as scratch:
        train, test = Path(scratch) / "train.parquet", Path(scratch) / "test.parquet"
        pq.write_table(make(given.rows, 1), train)
        pq.write_table(make(given.rows // 2, 2), test)
        for _ in range(given.rounds):
            found.setdefault("sensorium", []).append(sensorium(given.sensorium, train, test))
            for name in ("lightgbm", "sklearn"):
                call = [sys.executable, __file__, given.sensorium, "--one", name, str(train), str(test)]
                found.setdefault(name, []).append(json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout.splitlines()[-1]))
    print("| | seconds, median | each | peak MB | AUC |\n|---|---|---|---|---|")
    for name, runs in found.items():
        each = ", ".join(f"{run['seconds']:.1f}" for run in runs)
        print(f"| {name} | {statistics.median(run['seconds'] for run in runs):.2f} | {each} | {max(run['mb'] for run in runs):.0f} | {runs[0]['auc']:.4f} |")


if __name__ == "__main__":
    main()
