"""Models trained in SQL beside scikit-learn on the same splits: quality and time, over several seeds, in one table.

    python3 tests/bench/quality.py SENSORIUM DATA [--seeds N] [--only NAME,..] [--autogluon PYTHON]

SENSORIUM is the command; DATA a folder with `credit_data.parquet`, `wa_churn.parquet` and `reviews_train.parquet`. Needs
numpy, pyarrow and scikit-learn. Each seed is another split: three quarters to learn from, a quarter to be judged by. scikit-learn gets the
same rows: histogram gradient boosting with its defaults for tables, logistic regression on the same vectors for texts and
pictures. AutoGluon, where the Python of an environment that has it is named, gets the tables twice: with its defaults, and with a minute for its best
quality. `three` is made up: a number, a short text and a picture each say a little about the label.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

CACHE = Path.home() / ".cache" / "sensorium"
MODELS = {"minilm": CACHE / "models/minilm", "effnet": CACHE / "models/efficientnet-lite0"}
PARTS = 4


class Engine:
    """The command with a catalog of its own."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.folder = tempfile.TemporaryDirectory()
        for name, path in MODELS.items():
            self.sql(f"CREATE MODEL {name} FROM '{path}'")

    def sql(self, statement: str, output: Path | None = None) -> str:
        target = ["--output", str(output)] if output else ["--format", "jsonl"]
        settings = ["--set", "mm.allowed_roots=/", "--set", f"mm.cache_path={self.folder.name}/cache"]
        call = [self.command, "sql", "--models", self.folder.name, "--quiet", *settings, *target, "-c", statement]
        done = subprocess.run(call, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{statement}\n{done.stderr}")
        return done.stdout

    def train(self, options: str, rows: Path) -> tuple:
        start = time.monotonic()
        said = self.sql(f"CREATE OR REPLACE MODEL m OPTIONS ({options}) AS SELECT * FROM '{rows}'")
        return time.monotonic() - start, said

    def figure(self, call: str, rows: Path) -> float:
        return json.loads(self.sql(f"SELECT {call} AS figure FROM '{rows}' AS t"))["figure"]

    def vectors(self, model: str, column: str, rows: Path) -> np.ndarray:
        output = Path(self.folder.name) / "vectors.parquet"
        self.sql(f"SELECT mm_embed('{model}', {column}) AS v FROM '{rows}'", output)
        return np.stack(pq.read_table(output)["v"].combine_chunks().flatten().to_numpy().reshape(-1, width(output)))


def width(path: Path) -> int:
    return pq.read_schema(path).field("v").type.list_size


def split(table: pa.Table, seed: int, folder: Path) -> tuple:
    """Rows to learn from and rows to be judged by, as files."""
    order = np.random.default_rng(seed).permutation(table.num_rows)
    cut = table.num_rows // PARTS
    paths = folder / "train.parquet", folder / "test.parquet"
    for path, rows in zip(paths, (order[cut:], order[:cut])):
        pq.write_table(table.take(np.sort(rows)), path)
    return paths


def boosted(table: pa.Table, label: str) -> object:
    """scikit-learn's histogram gradient boosting with categories as categories."""
    names = [name for name in table.schema.names if name != label]
    texts = [place for place, name in enumerate(names) if not pa.types.is_floating(table.schema.field(name).type) and not pa.types.is_integer(table.schema.field(name).type)]
    encode = ColumnTransformer([("texts", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan), texts)],
                               remainder="passthrough")
    return make_pipeline(encode, HistGradientBoostingClassifier(categorical_features=range(len(texts)), random_state=0))


def autogluon(python: str, train: Path, test: Path, label: str, positive: str) -> dict:
    script = Path(__file__).parent / "tabular_predictor.py"
    runs = {}
    for preset, limit in (("medium_quality", 0), ("best_quality", 60)):
        done = subprocess.run([python, script, train, test, label, positive, preset, str(limit)], check=True, capture_output=True, text=True)
        runs[preset] = json.loads(done.stdout.splitlines()[-1])
    return runs


def tabular(engine: Engine, table: pa.Table, label: str, positive: str, seed: int, folder: Path, python: str | None) -> dict:
    train, test = split(table, seed, folder)
    seconds, _ = engine.train(f"label = '{label}', head = 'trees', seed = {seed}", train)
    own = engine.figure(f"mm_auc(mm_predict('m', t.*).probabilities['{positive}'], {label} = '{positive}')", test)
    frame = lambda path: pq.read_table(path).drop([label]).to_pandas()
    truth = lambda path: np.array(pq.read_table(path)[label].to_pylist()) == positive
    start = time.monotonic()
    model = boosted(pq.read_table(train), label).fit(frame(train).to_numpy(dtype=object), truth(train))
    theirs_seconds = time.monotonic() - start
    theirs = roc_auc_score(truth(test), model.predict_proba(frame(test).to_numpy(dtype=object))[:, 1])
    found = {"figure": "AUC", "own": own, "theirs": theirs, "seconds": seconds, "theirs_seconds": theirs_seconds}
    return found | ({"autogluon": autogluon(python, train, test, label, positive)} if python else {})


def vectors(engine: Engine, table: pa.Table, column: str, label: str, encoder: str, modality: str, seed: int, folder: Path) -> dict:
    train, test = split(table.select([column, label]), seed, folder)
    seconds, _ = engine.train(f"label = '{label}', {modality} = '{encoder}', {modality}_columns = ['{column}'], seed = {seed}", train)
    own = engine.figure(f"mm_accuracy(mm_predict('m', t.{column}).label, {label})", test)
    truth = lambda path: np.array(pq.read_table(path)[label].to_pylist())
    best = 0.0
    start = time.monotonic()
    features = [engine.vectors(encoder, column, path) for path in (train, test)]
    for model in (LogisticRegression(max_iter=2000), make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))):
        model.fit(features[0], truth(train))
        best = max(best, accuracy_score(truth(test), model.predict(features[1])))
    return {"figure": "accuracy", "own": own, "theirs": best, "seconds": seconds, "theirs_seconds": time.monotonic() - start}


def three(seed: int, pictures: Path, reviews: pa.Table) -> pa.Table:
    """A number, a text and a picture that each go with the label more often than not; a made-up join."""
    random = np.random.default_rng(seed + 100)
    rows = 1200
    label = random.random(rows) < 0.5
    agrees = lambda share: np.where(random.random(rows) < share, label, ~label)
    files = {True: sorted((pictures / "nominal").glob("*.jpg")), False: sorted((pictures / "global").glob("*.jpg"))}
    texts = {True: reviews.filter(pa.compute.equal(reviews["score"], "great"))["review"].to_pylist(),
             False: reviews.filter(pa.compute.equal(reviews["score"], "other"))["review"].to_pylist()}
    picture = [str(files[bool(side)][random.integers(len(files[bool(side)]))]) for side in agrees(0.72)]
    text = [texts[bool(side)][random.integers(len(texts[bool(side)]))] for side in agrees(0.80)]
    number = np.where(agrees(0.70), 0.5, -0.5) + random.normal(size=rows) * 0.5
    return pa.table({"number": number, "note": text, "photo": picture, "label": np.where(label, "yes", "no")})


def fusions(engine: Engine, seed: int, pictures: Path, reviews: pa.Table, folder: Path) -> list:
    train, test = split(three(seed, pictures, reviews), seed, folder)
    figure = lambda columns: engine.figure(f"mm_auc(mm_predict('m', {columns}).probabilities['yes'], label = 'yes')", test)
    rows = []
    for name, columns, options in [("number", ["number"], ""), ("note", ["note"], "text = 'minilm', text_columns = ['note'], "), ("photo", ["photo"], "image = 'effnet', ")]:
        alone = folder / "alone.parquet"
        pq.write_table(pq.read_table(train).select([*columns, "label"]), alone)
        engine.train(f"{options}label = 'label', seed = {seed}", alone)
        rows.append((f"three: {name} alone", figure(f"{{{name}: t.{name}}}")))
    for fusion in ("early", "late", "hybrid"):
        engine.train(f"text = 'minilm', text_columns = ['note'], image = 'effnet', label = 'label', fusion = '{fusion}', seed = {seed}", train)
        rows.append((f"three: {fusion}", figure("{number: t.number, note: t.note, photo: t.photo}")))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sensorium")
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--autogluon")
    parser.add_argument("--only", default="credit,churn,reviews,textiles,three")
    asked = parser.parse_args()
    engine = Engine(asked.sensorium)
    read = lambda name: (table := pq.read_table(asked.data / f"{name}.parquet")).rename_columns([column.lower() for column in table.schema.names])
    pictures = CACHE / "data/textile"
    found: dict = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for seed in range(asked.seeds):
            for name in asked.only.split(","):
                if name == "credit":
                    rows = [(name, tabular(engine, read("credit_data"), "status", "bad", seed, folder, asked.autogluon))]
                elif name == "churn":
                    rows = [(name, tabular(engine, read("wa_churn"), "churn", "Yes", seed, folder, asked.autogluon))]
                elif name == "reviews":
                    rows = [(name, vectors(engine, read("reviews_train"), "review", "score", "minilm", "text", seed, folder))]
                elif name == "textiles":
                    files = sorted(pictures.glob("*/*.jpg"))
                    table = pa.table({"photo": [str(file) for file in files], "defect": [file.parent.name for file in files]})
                    rows = [(name, vectors(engine, table, "photo", "defect", "effnet", "image", seed, folder))]
                else:
                    rows = [(kind, {"figure": "AUC", "own": own}) for kind, own in fusions(engine, seed, pictures, read("reviews_train"), folder)]
                for kind, row in rows:
                    found.setdefault(kind, []).append(row)
                    print(seed, kind, json.dumps(row), flush=True)
    print(f"\n| | | Sensorium | scikit-learn | difference, each seed | seconds | |\n|---|---|---|---|---|---|---|")
    for kind, rows in found.items():
        mean = lambda key: statistics.mean(row[key] for row in rows)
        if "theirs" not in rows[0]:
            print(f"| {kind} | {rows[0]['figure']} | {mean('own'):.4f} | | | | |")
            continue
        each = ", ".join(f"{row['own'] - row['theirs']:+.4f}" for row in rows)
        print(f"| {kind} | {rows[0]['figure']} | {mean('own'):.4f} | {mean('theirs'):.4f} | {each} | {mean('seconds'):.1f} | {mean('theirs_seconds'):.1f} |")
        for preset in rows[0].get("autogluon", {}):
            of = lambda key: statistics.mean(row["autogluon"][preset][key] for row in rows)
            each = ", ".join(f"{row['own'] - row['autogluon'][preset]['auc']:+.4f}" for row in rows)
            print(f"| {kind}, AutoGluon's {preset} | AUC | {mean('own'):.4f} | {of('auc'):.4f} | {each} | {mean('seconds'):.1f} | {of('seconds'):.1f} |")


if __name__ == "__main__":
    main()
