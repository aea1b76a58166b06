"""Every type of Polars into the engine and out again: values, nulls, no rows, chunks, slices."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import sensorium as sm
from conftest import raised

UTC = datetime.timezone.utc
DAY = datetime.date(2026, 11, 28)
TIME = datetime.datetime(2026, 11, 28, 7, 45, 1, 123456)
COLOURS = ["red", "green", "blue"]

CASES: dict[str, tuple[Any, list[Any]]] = {
    "boolean": (pl.Boolean, [True, False, True]),
    "int8": (pl.Int8, [-128, 0, 127]),
    "int16": (pl.Int16, [-(2**15), 0, 2**15 - 1]),
    "int32": (pl.Int32, [-(2**31), 0, 2**31 - 1]),
    "int64": (pl.Int64, [-(2**63), 0, 2**63 - 1]),
    "uint8": (pl.UInt8, [0, 1, 255]),
    "uint16": (pl.UInt16, [0, 1, 2**16 - 1]),
    "uint32": (pl.UInt32, [0, 1, 2**32 - 1]),
    "uint64": (pl.UInt64, [0, 1, 2**64 - 1]),
    "float32": (pl.Float32, [-0.0, 1.5, float("inf")]),
    "float64": (pl.Float64, [-0.0, 1e300, float("nan")]),
    "string": (pl.String, ["", "short", "a text that is longer than twelve bytes: é 語"]),
    "binary": (pl.Binary, [b"", b"\x00\xff", b"bytes that are longer than twelve"]),
    "date": (pl.Date, [datetime.date(1, 1, 1), DAY, datetime.date(9999, 12, 31)]),
    "time": (pl.Time, [datetime.time(0, 0), datetime.time(23, 59, 59, 999999), datetime.time(7, 45)]),
    "datetime_ms": (pl.Datetime("ms"), [TIME.replace(microsecond=123000)] * 3),
    "datetime_us": (pl.Datetime("us"), [datetime.datetime(1, 1, 1), TIME, TIME]),
    "datetime_ns": (pl.Datetime("ns"), [TIME] * 3),
    "datetime_utc": (pl.Datetime("us", "UTC"), [TIME.replace(tzinfo=UTC)] * 3),
    "datetime_zone": (pl.Datetime("ms", "Europe/Berlin"), [TIME.replace(microsecond=0, tzinfo=UTC)] * 3),
    "duration_ms": (pl.Duration("ms"), [datetime.timedelta(days=-1, milliseconds=1)] * 3),
    "duration_us": (pl.Duration("us"), [datetime.timedelta(microseconds=1)] * 3),
    "duration_ns": (pl.Duration("ns"), [datetime.timedelta(hours=1)] * 3),
    "decimal": (pl.Decimal(38, 4), [decimal.Decimal("-1.2345"), decimal.Decimal("0"), decimal.Decimal("99999999999999999999.9999")]),
    "categorical": (pl.Categorical, ["red", "blue", "red"]),
    "enum": (pl.Enum(COLOURS), ["blue", "red", "green"]),
    "null": (pl.Null, [None, None, None]),
    "list": (pl.List(pl.Int64), [[1, None, 3], [], [4]]),
    "list_of_strings": (pl.List(pl.String), [["a", None], [], ["a text that is longer than twelve"]]),
    "list_of_lists": (pl.List(pl.List(pl.Float32)), [[[1.0], []], [], [[2.0, 3.0]]]),
    "list_of_categories": (pl.List(pl.Categorical), [["red"], [], ["blue", "red"]]),
    "array": (pl.Array(pl.Float32, 2), [[1.0, 2.0], [3.0, None], [5.0, 6.0]]),
    "array_of_arrays": (pl.Array(pl.Int8, (2, 2)), [[[1, 2], [3, 4]]] * 3),
    "struct": (pl.Struct({"x": pl.Int64, "y": pl.String}), [{"x": 1, "y": "a"}, {"x": None, "y": None}, {"x": 3, "y": "c"}]),
    "struct_of_all": (
        pl.Struct({"list": pl.List(pl.Date), "inner": pl.Struct({"enum": pl.Enum(COLOURS), "array": pl.Array(pl.Int32, 1)})}),
        [{"list": [DAY, None], "inner": {"enum": "red", "array": [1]}}, {"list": [], "inner": {"enum": None, "array": None}}] * 2,
    ),
    "list_of_structs": (pl.List(pl.Struct({"start": pl.Float64, "text": pl.String})), [[{"start": 0.5, "text": "a"}], [], [{"start": None, "text": None}]]),
}
NEW = {"Int128": [-(2**127), 0, 2**127 - 1], "UInt128": [0, 1, 2**127], "Float16": [0.5, -2.0, 1.0], "Map": [{"a": 1.5, "b": None}, {}, {"c": 2.0}]}


def frame(dtype: Any, values: list[Any]) -> pl.DataFrame:
    """Three forms of nullness: none, some, and between values."""
    return pl.DataFrame({"row": range(len(values) + 2), "value": pl.Series([values[0], None, *values[1:], None], dtype=dtype)})


def check(session: sm.Session, given: pl.DataFrame) -> None:
    for name, result in {
        "frame": session.sql("SELECT * FROM given", given=given),
        "lazy": session.sql("SELECT * FROM given", given=given.lazy()),
        "scan": session.scan("SELECT * FROM given", given=given).collect(),
        "stream": pl.DataFrame(session.stream("SELECT * FROM given", given=given)),
        "namespace": given.lazy().mm.sql("SELECT * FROM self", session=session).collect(),
    }.items():
        assert result.schema == given.schema, name
        assert_frame_equal(result, given, check_exact=True)


@pytest.mark.parametrize("case", CASES)
def test_in_and_out(session: sm.Session, case: str) -> None:
    whole = frame(*CASES[case])
    check(session, whole)
    check(session, whole.head(0))
    check(session, whole.slice(1, 2))
    check(session, pl.concat([whole, whole.slice(1, 3), whole.head(0), whole], rechunk=False))
    check(session, pl.concat([whole, whole], rechunk=False).slice(2, 5))


@pytest.mark.parametrize("name", NEW)
def test_types_of_some_versions(session: sm.Session, name: str) -> None:
    """Passed on as they are, or refused; never another value."""
    dtype = getattr(pl, name, None)
    if dtype is None:
        pytest.skip(f"Polars {pl.__version__} has no {name}")
    if name == "Map":
        dtype = dtype(pl.String, pl.Float64)
    given = frame(dtype, NEW[name])
    try:
        result = session.sql("SELECT * FROM given", given=given)
    except sm.SensoriumError as error:
        assert error.hint and "'value'" in str(error)
    else:
        assert result.schema == given.schema
        assert_frame_equal(result, given, check_exact=True)


def test_objects_are_refused(session: sm.Session) -> None:
    given = pl.DataFrame({"a": [1], "thing": pl.Series([object()], dtype=pl.Object)})
    for one in (given, given.lazy()):
        error = raised(sm.ArgumentError, lambda one=one: session.sql("SELECT a FROM given", given=one))
        assert "'thing'" in str(error) and ".drop('thing')" in error.hint


def test_all_types_side_by_side(session: sm.Session) -> None:
    columns = {name: frame(dtype, values[:3])["value"][:4] for name, (dtype, values) in CASES.items()}
    check(session, pl.DataFrame(columns))


def test_no_columns(session: sm.Session) -> None:
    assert session.sql("SELECT 1 AS one FROM given", given=pl.DataFrame({"a": [1, 2, 3]})).height == 3
    assert session.sql("SELECT count(*) AS n FROM given", given=pl.LazyFrame({"a": [1, 2, 3]})).item() == 3
    assert session.sql("SELECT count(*) AS n FROM given", given=pl.DataFrame()).item() == 0
