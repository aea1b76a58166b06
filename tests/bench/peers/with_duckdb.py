"""DuckDB: an Arrow function over vectors of up to 2,048 rows."""

import duckdb
import pyarrow as pa

from models import TEXT_WIDTH, model_of, vectors
from tasks import COLUMNS, FUSED_COLUMNS, LEAST_SIMILARITY, data_folder, least_amount


def matrix(column) -> "numpy.ndarray":
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return column.flatten().to_numpy().reshape(len(column), -1)


def prepare(task: str):
    model, database = model_of(task), duckdb.connect()
    register = lambda function, types, result: database.create_function("call", function, types, result, type="arrow")
    copy = lambda query, target: database.execute(f"COPY ({query}) TO '{target}' (FORMAT parquet)")

    def text(source, target):
        register(lambda texts: vectors(model(texts.to_pylist())), ["VARCHAR"], f"FLOAT[{TEXT_WIDTH}]")
        copy(f"SELECT id, call(text) AS embedding FROM '{source}'", target)

    def pictures(source, target):
        classify = lambda paths: pa.StructArray.from_arrays([pa.array(part) for part in model.classify(paths.to_pylist())], ["label", "score"])
        register(classify, ["VARCHAR"], "STRUCT(label INT, score FLOAT)")
        copy(f"SELECT id, r.label, r.score FROM (SELECT id, call(path) AS r FROM '{source}')", target)

    def numbers(source, target):
        register(lambda rows: pa.array(model(matrix(rows))), [f"FLOAT[{len(COLUMNS)}]"], "FLOAT")
        row = ", ".join(f"{name}::FLOAT" for name in COLUMNS)
        copy(f"SELECT id, call([{row}]::FLOAT[{len(COLUMNS)}]) AS score FROM '{source}'", target)

    def selective(source, target):
        register(lambda texts: pa.array(model.similarity(texts.to_pylist())), ["VARCHAR"], "FLOAT")
        joined = f"'{source}' JOIN '{data_folder() / 'amounts.parquet'}' USING (id)"
        where = f"call(text) > {LEAST_SIMILARITY} AND amount > {least_amount()}"
        copy(f"SELECT id, call(text) AS score FROM {joined} WHERE {where}", target)

    def fused(source, target):
        score = lambda rows, texts, paths: pa.array(model(matrix(rows), texts.to_pylist(), paths.to_pylist()))
        register(score, [f"FLOAT[{len(FUSED_COLUMNS)}]", "VARCHAR", "VARCHAR"], "FLOAT")
        row = ", ".join(FUSED_COLUMNS)
        copy(f"SELECT id, call([{row}]::FLOAT[{len(FUSED_COLUMNS)}], text, path) AS score FROM '{source}'", target)

    return {"text": text, "duplicates": text, "pictures": pictures, "trees": numbers, "perceptron": numbers,
            "selective": selective, "fused": fused}[task]
