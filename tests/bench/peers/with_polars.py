"""Polars: a scan and `map_batches` over whole columns. `unique` and a join for the duplicates, as its users would."""

import numpy as np
import polars as pl

from models import TEXT_WIDTH, model_of
from tasks import COLUMNS, FUSED_COLUMNS, LEAST_SIMILARITY, data_folder, least_amount

VECTOR = pl.Array(pl.Float32, TEXT_WIDTH)
CLASS = pl.Struct({"label": pl.Int32, "score": pl.Float32})


def prepare(task: str):
    model = model_of(task)
    embed = lambda texts: pl.Series(model(texts.to_list()), dtype=VECTOR)
    embedding = pl.col("text").map_batches(embed, return_dtype=VECTOR).alias("embedding")

    def text(source, target):
        pl.scan_parquet(source).select("id", embedding).collect().write_parquet(target)

    def duplicates(source, target):
        table = pl.read_parquet(source)
        different = table.select("text").unique(maintain_order=True).with_columns(embedding)
        table.join(different, on="text", how="left").select("id", "embedding").write_parquet(target)

    def pictures(source, target):
        def classify(paths):
            label, score = model.classify(paths.to_list())
            return pl.DataFrame({"label": label, "score": score}).to_struct()

        found = pl.col("path").map_batches(classify, return_dtype=CLASS).alias("r")
        pl.scan_parquet(source).select("id", found).unnest("r").collect().write_parquet(target)

    def numbers(source, target):
        score = lambda rows: pl.Series(model(np.ascontiguousarray(rows.struct.unnest().to_numpy())))
        found = pl.struct(pl.col(COLUMNS).cast(pl.Float32)).map_batches(score, return_dtype=pl.Float32)
        pl.scan_parquet(source).select("id", score=found).collect().write_parquet(target)

    def selective(source, target):
        alike = lambda texts: pl.Series(model.similarity(texts.to_list()))
        score = pl.col("text").map_batches(alike, return_dtype=pl.Float32, is_elementwise=True)
        joined = pl.scan_parquet(source).join(pl.scan_parquet(data_folder() / "amounts.parquet"), on="id")
        kept = (pl.col("score") > LEAST_SIMILARITY) & (pl.col("amount") > least_amount())
        joined.with_columns(score=score).filter(kept).select("id", "score").collect().write_parquet(target)

    def fused(source, target):
        def score(rows):
            table = rows.struct.unnest()
            return pl.Series(model(table.select(FUSED_COLUMNS).to_numpy(), table["text"].to_list(), table["path"].to_list()))

        found = pl.struct([*FUSED_COLUMNS, "text", "path"]).map_batches(score, return_dtype=pl.Float32)
        pl.scan_parquet(source).select("id", score=found).collect().write_parquet(target)

    return {"text": text, "duplicates": duplicates, "pictures": pictures, "trees": numbers, "perceptron": numbers,
            "selective": selective, "fused": fused}[task]
