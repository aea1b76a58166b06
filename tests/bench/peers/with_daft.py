"""Daft: a class with a batch method, 1,000 rows a batch for texts so that sorting by length has something to sort."""

import daft
import numpy as np
from daft import DataType, col

from models import TEXT_WIDTH, model_of
from tasks import COLUMNS, FUSED_COLUMNS, LEAST_SIMILARITY, data_folder, least_amount

TEXTS, PICTURES, ROWS = 1_000, 64, 65_536


def stacked(columns) -> np.ndarray:
    return np.column_stack([column.to_arrow().to_numpy() for column in columns])


@daft.cls
class Model:
    def __init__(self, task: str):
        self.model = model_of(task)

    @daft.method.batch(return_dtype=DataType.fixed_size_list(DataType.float32(), TEXT_WIDTH), batch_size=TEXTS)
    def embed(self, texts):
        return self.model(texts.to_pylist())

    @daft.method.batch(return_dtype=DataType.float32(), batch_size=TEXTS)
    def alike(self, texts):
        return self.model.similarity(texts.to_pylist())

    @daft.method.batch(return_dtype=DataType.struct({"label": DataType.int32(), "score": DataType.float32()}), batch_size=PICTURES)
    def classify(self, paths):
        labels, scores = self.model.classify(paths.to_pylist())
        return [{"label": label, "score": score} for label, score in zip(labels.tolist(), scores.tolist())]

    @daft.method.batch(return_dtype=DataType.float32(), batch_size=ROWS)
    def score(self, *columns):
        return self.model(stacked(columns))

    @daft.method.batch(return_dtype=DataType.float32(), batch_size=PICTURES)
    def fuse(self, texts, paths, *columns):
        return self.model(stacked(columns), texts.to_pylist(), paths.to_pylist())


def prepare(task: str):
    model = Model(task)
    read = lambda path: daft.read_parquet(str(path))

    def text(source, target):
        read(source).select("id", model.embed(col("text")).alias("embedding")).write_parquet(str(target))

    def pictures(source, target):
        found = read(source).with_column("r", model.classify(col("path")))
        found.select("id", col("r")["label"].alias("label"), col("r")["score"].alias("score")).write_parquet(str(target))

    def numbers(source, target):
        score = model.score(*[col(name).cast(DataType.float32()) for name in COLUMNS])
        read(source).select("id", score.alias("score")).write_parquet(str(target))

    def selective(source, target):
        scored = read(source).join(read(data_folder() / "amounts.parquet"), on="id").with_column("score", model.alike(col("text")))
        kept = (col("score") > LEAST_SIMILARITY) & (col("amount") > least_amount())
        scored.where(kept).select("id", "score").write_parquet(str(target))

    def fused(source, target):
        score = model.fuse(col("text"), col("path"), *[col(name) for name in FUSED_COLUMNS])
        read(source).select("id", score.alias("score")).write_parquet(str(target))

    return {"text": text, "duplicates": text, "pictures": pictures, "trees": numbers, "perceptron": numbers,
            "selective": selective, "fused": fused}[task]
