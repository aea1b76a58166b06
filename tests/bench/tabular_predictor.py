"""AutoGluon's TabularPredictor with its defaults on rows to learn from and rows to be judged by: AUC and seconds, as JSON.

    PYTHON tests/bench/tabular_predictor.py TRAIN TEST LABEL POSITIVE PRESET SECONDS

Called by quality.py with the Python that has `autogluon.tabular[lightgbm,catboost,xgboost]`. SECONDS is the limit of its time, 0 for none.
"""

import json
import sys
import tempfile
import time

import pandas as pd
from autogluon.tabular import TabularPredictor


def main(train: str, test: str, label: str, positive: str, preset: str, limit: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        predictor = TabularPredictor(label=label, eval_metric="roc_auc", positive_class=positive, path=folder, verbosity=0)
        predictor.fit(pd.read_parquet(train), presets=preset, time_limit=int(limit) or None)
        seconds = time.monotonic() - start
        print(json.dumps({"auc": predictor.evaluate(pd.read_parquet(test))["roc_auc"], "seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
