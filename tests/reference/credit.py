"""The loan book `examples/data/credit_data.parquet` (R package modeldata, MIT) as model inputs."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from places import EXAMPLES

PATH = EXAMPLES / "data" / "credit_data.parquet"
TEXT = ["Home", "Marital", "Records", "Job"]
NUMERIC = ["Seniority", "Time", "Age", "Expenses", "Income", "Assets", "Debt", "Amount", "Price"]
LABEL = "Status"


def loans() -> tuple[pd.DataFrame, np.ndarray]:
    """Features (4,454 rows in file order) and labels "bad" or "good".

    A missing text is "" and a missing number NaN, the only values that ONNX tensors have for it. Numbers are
    float32 before training, so that no threshold falls between a number and its float32.
    """
    table = pq.read_table(PATH).to_pandas()
    features = table[TEXT + NUMERIC].copy()
    for name in TEXT:
        features[name] = features[name].astype(object).where(features[name].notna(), "")
    return features.astype({name: np.float32 for name in NUMERIC}), table[LABEL].to_numpy(object)
