"""DataFusion's Python package: a scalar function over batches of 8,192 rows, one partition for each core."""

import os

import datafusion
import numpy as np
import pyarrow as pa

from models import TEXT_WIDTH, model_of, vectors
from tasks import COLUMNS, FUSED_COLUMNS, LEAST_SIMILARITY, data_folder, least_amount


def stacked(columns) -> np.ndarray:
    return np.column_stack([column.to_numpy(zero_copy_only=False) for column in columns])


def prepare(task: str):
    model = model_of(task)
    context = datafusion.SessionContext(datafusion.SessionConfig().with_target_partitions(os.cpu_count()))
    register = lambda function, types, result: context.register_udf(datafusion.udf(function, types, result, "immutable", "call"))

    def run(query, source, target):
        context.register_parquet("t", str(source))
        context.sql(query).write_parquet(str(target))

    def text(source, target):
        register(lambda texts: vectors(model(texts.to_pylist())), [pa.string()], pa.list_(pa.float32(), TEXT_WIDTH))
        run("SELECT id, call(text) AS embedding FROM t", source, target)

    def pictures(source, target):
        classify = lambda paths: pa.StructArray.from_arrays([pa.array(part) for part in model.classify(paths.to_pylist())], ["label", "score"])
        register(classify, [pa.string()], pa.struct([("label", pa.int32()), ("score", pa.float32())]))
        run("SELECT id, r['label'] AS label, r['score'] AS score FROM (SELECT id, call(path) AS r FROM t)", source, target)

    def numbers(source, target):
        register(lambda *columns: pa.array(model(stacked(columns))), [pa.float32()] * len(COLUMNS), pa.float32())
        run(f"SELECT id, call({', '.join(COLUMNS)}) AS score FROM t", source, target)

    def selective(source, target):
        register(lambda texts: pa.array(model.similarity(texts.to_pylist())), [pa.string()], pa.float32())
        context.register_parquet("a", str(data_folder() / "amounts.parquet"))
        where = f"call(text) > {LEAST_SIMILARITY} AND amount > {least_amount()}"
        run(f"SELECT t.id AS id, call(text) AS score FROM t JOIN a ON t.id = a.id WHERE {where}", source, target)

    def fused(source, target):
        score = lambda *columns: pa.array(model(stacked(columns[:-2]), columns[-2].to_pylist(), columns[-1].to_pylist()))
        register(score, [pa.float32()] * len(FUSED_COLUMNS) + [pa.string()] * 2, pa.float32())
        run(f"SELECT id, call({', '.join(FUSED_COLUMNS)}, text, path) AS score FROM t", source, target)

    return {"text": text, "duplicates": text, "pictures": pictures, "trees": numbers, "perceptron": numbers,
            "selective": selective, "fused": fused}[task]
