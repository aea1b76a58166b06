"""SQL over tables, texts, pictures and sounds, with ONNX models inside the query.

A session knows a folder of models and runs queries over frames of any library that speaks Arrow. Rows go in and come out
without being copied.

>>> import polars as pl, sensorium as sm
>>> s = sm.Session(models=folder)
>>> s.create_model("add", "tests/fixtures/tiny/add.onnx")
>>> loans = pl.DataFrame({"amount": [100.0, 250.0], "fee": [1.0, 2.0]})
>>> s.sql("SELECT amount, mm_predict('add', amount, fee).sum AS total FROM loans", loans=loans)["total"].to_list()
[101.0, 252.0]
>>> loans.mm.predict("add", pl.col("amount"), pl.col("fee")).columns
['amount', 'fee', 'prediction']
"""

import atexit

from sensorium import _library, _native
from sensorium._display import Evaluation, Explanations, ModelList
from sensorium._errors import (
    ArgumentError,
    CancelledError,
    CatalogError,
    EngineError,
    FetchError,
    ForbiddenError,
    LimitError,
    MediaError,
    ModelError,
    PackageError,
    RuntimeUnavailableError,
    SensoriumError,
    SettingError,
    SqlError,
)
from sensorium._namespace import DataFrameModels, LazyFrameModels
from sensorium._session import Rows, Session, current_session, evaluate, models

_library.prefer_installed()
atexit.register(_native.shut_down)

__all__ = [
    "ArgumentError",
    "CancelledError",
    "CatalogError",
    "DataFrameModels",
    "EngineError",
    "Evaluation",
    "Explanations",
    "FetchError",
    "ForbiddenError",
    "LazyFrameModels",
    "LimitError",
    "MediaError",
    "ModelError",
    "ModelList",
    "PackageError",
    "Rows",
    "RuntimeUnavailableError",
    "SensoriumError",
    "Session",
    "SettingError",
    "SqlError",
    "current_session",
    "evaluate",
    "models",
]
