"""Spark on one machine: `mapInPandas` with Arrow batches of 10,000 rows, one worker for each core."""

import os
import sys

import numpy as np
import pandas
from pyspark.sql import SparkSession

from models import model_of
from tasks import COLUMNS, FUSED_COLUMNS, LEAST_SIMILARITY, data_folder, least_amount

KEPT = {}


def model(task: str):
    """Loaded once in each worker process."""
    if task not in KEPT:
        KEPT[task] = model_of(task, threads=1, decoders=1)
    return KEPT[task]


def prepare(task: str):
    cores = os.cpu_count()
    # Its workers would look for `python3`, which is another one.
    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = SparkSession.builder.master(f"local[{cores}]").config("spark.ui.enabled", "false")
    session = session.config("spark.driver.memory", "4g").config("spark.sql.shuffle.partitions", cores)
    session = session.config("spark.sql.execution.arrow.pyspark.enabled", "true").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    session.range(10).count()

    def answer(batches):
        own = model(task)
        for batch in batches:
            found = {"id": batch["id"]}
            if task == "pictures":
                found["label"], found["score"] = own.classify(batch["path"].tolist())
            elif task in ("trees", "perceptron"):
                found["score"] = own(np.ascontiguousarray(batch[COLUMNS].to_numpy(np.float32)))
            elif task == "fused":
                found["score"] = own(batch[FUSED_COLUMNS].to_numpy(np.float32), batch["text"].tolist(), batch["path"].tolist())
            elif task == "selective":
                found["amount"], found["score"] = batch["amount"], own.similarity(batch["text"].tolist())
            else:
                found["embedding"] = list(own(batch["text"].tolist()))
            yield pandas.DataFrame(found)

    types = {"pictures": "id long, label int, score float", "selective": "id long, amount double, score float",
             "text": "id long, embedding array<float>", "duplicates": "id long, embedding array<float>"}

    def run(source, target):
        rows = session.read.parquet(str(source))
        if task == "selective":
            rows = rows.join(session.read.parquet(str(data_folder() / "amounts.parquet")), "id")
        # Small files are one partition; the model wants them on all cores.
        rows = rows.repartition(cores).mapInPandas(answer, types.get(task, "id long, score float"))
        if task == "selective":
            rows = rows.where(f"score > {LEAST_SIMILARITY} AND amount > {least_amount()}").select("id", "score")
        rows.write.parquet(str(target))

    return run
