"""Ray Data: `map_batches` with an actor for each core, one ONNX Runtime thread each; 1,000 texts a batch."""

import os
from pathlib import Path

import numpy as np
import ray

from models import model_of
from tasks import COLUMNS, FUSED_COLUMNS, LEAST_SIMILARITY, data_folder, least_amount

BATCH = {"pictures": 64, "fused": 64, "trees": 65_536, "perceptron": 65_536}
HERE = str(Path(__file__).parent)


class Model:
    def __init__(self, task: str):
        self.task, self.model = task, model_of(task, threads=1, decoders=1)

    def __call__(self, batch: dict) -> dict:
        columns = lambda names: np.column_stack([batch[name] for name in names]).astype(np.float32)
        texts, paths = ([str(value) for value in batch[name]] if name in batch else None for name in ("text", "path"))
        if self.task == "pictures":
            label, score = self.model.classify(paths)
            return {"id": batch["id"], "label": label, "score": score}
        if self.task in ("trees", "perceptron"):
            return {"id": batch["id"], "score": self.model(columns(COLUMNS))}
        if self.task == "fused":
            return {"id": batch["id"], "score": self.model(columns(FUSED_COLUMNS), texts, paths)}
        if self.task == "selective":
            return {"id": batch["id"], "amount": batch["amount"], "score": self.model.similarity(texts)}
        return {"id": batch["id"], "embedding": self.model(texts)}


def prepare(task: str):
    cores = os.cpu_count()
    paths = {"env_vars": {"PYTHONPATH": f"{Path(HERE).parent}:{HERE}"}}
    # Reading and writing want cores of their own beside the actors'.
    ray.init(num_cpus=2 * cores, include_dashboard=False, logging_level="ERROR", log_to_driver=False, runtime_env=paths)
    ray.data.DataContext.get_current().enable_progress_bars = False
    ray.data.range(8).map_batches(lambda batch: batch).materialize()

    def run(source, target):
        rows = ray.data.read_parquet(str(source))
        if task == "selective":
            amounts = ray.data.read_parquet(str(data_folder() / "amounts.parquet"))
            rows = rows.join(amounts, join_type="inner", num_partitions=cores, on=("id",))
        rows = rows.map_batches(Model, fn_constructor_args=(task,), batch_size=BATCH.get(task, 1_000), batch_format="numpy",
                                compute=ray.data.ActorPoolStrategy(size=cores), num_cpus=1)
        if task == "selective":
            rows = rows.filter(expr=f"(score > {LEAST_SIMILARITY}) and (amount > {least_amount()})").select_columns(["id", "score"])
        rows.write_parquet(str(target))

    return run
