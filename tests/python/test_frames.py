"""Frames in and out: other libraries, memory that is shared and not copied, names, what is no frame."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

import sensorium as sm
from conftest import raised, resident_bytes

ROWS = {"id": [3, 1, 2], "amount": [1.5, None, 2.5], "note": ["a", None, "a note that is longer than twelve bytes"]}


@pytest.mark.parametrize(
    "make",
    [
        pl.DataFrame,
        pl.LazyFrame,
        lambda rows: pd.DataFrame(rows),
        lambda rows: pd.DataFrame(rows, index=[7, 8, 9]),
        pa.table,
        lambda rows: pa.RecordBatch.from_pydict(rows),
        lambda rows: pa.table(rows).to_reader(),
        lambda rows: pl.DataFrame(rows).to_struct("s").struct.unnest(),
    ],
    ids=["polars", "lazy", "pandas", "pandas_index", "table", "batch", "reader", "struct"],
)
def test_other_libraries(session: sm.Session, make: Any) -> None:
    result = session.sql("SELECT id, amount, note, mm_predict('add', id, amount).sum AS sum FROM rows", rows=make(ROWS))
    assert_frame_equal(result, pl.DataFrame({**ROWS, "sum": pl.Series([4.5, None, 4.5], dtype=pl.Float32)}))


def test_a_reader_is_read_once(session: sm.Session) -> None:
    assert session.sql("SELECT count(*) AS n FROM t", t=pa.table(ROWS).to_reader()).item() == 3
    query = "SELECT id FROM t UNION ALL SELECT id FROM t"
    error = raised(sm.ArgumentError, lambda: session.sql(query, t=pa.table(ROWS).to_reader()))
    assert "once" in str(error) and "read_all" in error.hint
    lazy = session.scan("SELECT id FROM t", t=pa.table(ROWS).to_reader())
    assert lazy.collect().height == 3
    assert "once" in str(raised((sm.ArgumentError, pl.exceptions.PolarsError), lazy.collect))


def test_two_frames_in_one_statement(session: sm.Session) -> None:
    loans, prices = pl.DataFrame({"id": [1, 2], "kind": ["x", "y"]}), pl.LazyFrame({"kind": ["y", "x"], "price": [20, 10]})
    joined = session.sql("SELECT id, price FROM loans JOIN prices USING (kind) ORDER BY id", loans=loans, prices=prices)
    assert joined.rows() == [(1, 10), (2, 20)]
    itself = session.sql("SELECT count(*) AS n FROM p a, p b", p=prices)
    assert itself.item() == 4


def test_rows_that_are_null_as_a_whole_are_refused(session: sm.Session) -> None:
    rows = pa.chunked_array([pa.StructArray.from_arrays([pa.array([1, 2, 3])], names=["a"], mask=pa.array([False, True, False]))])
    error = raised(sm.SensoriumError, lambda: session.sql("SELECT * FROM t", t=rows))
    assert "1 rows are null" in str(error)


@pytest.mark.parametrize("column", [pd.Series([1, 2]), pa.chunked_array([[1, 2]]), pa.array([1, 2])], ids=["pandas", "chunked", "array"])
def test_a_column_is_no_table(session: sm.Session, column: Any) -> None:
    error = raised(sm.ArgumentError, lambda: session.sql("SELECT * FROM loans", loans=column))
    assert str(error).startswith("loans: ")


def test_what_polars_has_no_type_for(session: sm.Session) -> None:
    for expression, part in (("CAST(1 AS DECIMAL(50, 2))", "Decimal256"), ("INTERVAL '1 month'", "Interval"), ("arrow_cast(1, 'Timestamp(s, \"+05:30\")')", "+05:30")):
        for act in (session.sql, session.scan):
            error = raised(sm.ArgumentError, lambda act=act, expression=expression: act(f"SELECT {expression} AS what"))
            assert "'what'" in str(error) and part in str(error) and "CAST" in error.hint
    frame = pl.DataFrame({"a": [1]})
    error = raised(sm.SensoriumError, lambda: session.scan("SELECT l.*, r.* FROM t l JOIN t r ON l.a = r.a", t=frame))
    assert "'a'" in str(error)


def test_frames_without_columns_or_rows(session: sm.Session) -> None:
    for frame in (pl.DataFrame(), pl.LazyFrame(), pl.DataFrame({"a": []}, schema={"a": pl.Int64}), pl.LazyFrame({"a": []}, schema={"a": pl.Int64})):
        assert session.sql("SELECT count(*) AS n FROM t", t=frame).item() == 0
    assert pl.DataFrame().mm.predict("add", 1, 2).shape == (0, 1)


def test_settings_beside_frames_are_refused(session: sm.Session) -> None:
    error = raised(sm.ArgumentError, lambda: session.sql("set mm.batch_rows = 7", t=pl.DataFrame({"a": [1]})))
    assert "lost" in str(error)


def test_names(session: sm.Session) -> None:
    frame = pl.DataFrame({"a b": [1], 'quo"te': [2]})
    assert session.sql('SELECT "a b" + "quo""te" AS s FROM "My Frame"', **{"My Frame": frame}).item() == 3
    error = raised(sm.SensoriumError, lambda: session.sql("CREATE TABLE t AS SELECT 1", t=frame))
    assert "already exists" in str(error)
    error = raised(sm.SensoriumError, lambda: session.sql("CREATE OR REPLACE TABLE t AS SELECT 1", t=frame))
    assert "is a frame" in str(error)
    raised(sm.SensoriumError, lambda: session.sql("DROP TABLE t", t=frame))
    session.sql("CREATE TABLE kept AS SELECT * FROM source", source=frame)
    assert session.sql("SELECT count(*) FROM kept").item() == 1
    raised(sm.SqlError, lambda: session.sql("SELECT * FROM source"))
    error = raised(sm.SqlError, lambda: session.sql("SELECT * FROM Loans", Loans=frame))
    assert error.hint == "a frame is called 'Loans': write it as \"Loans\""


@pytest.mark.parametrize("wrong", [[1, 2], {"a": [1]}, "file.parquet", None, 3, object()])
def test_what_is_no_frame(session: sm.Session, wrong: Any) -> None:
    error = raised(sm.ArgumentError, lambda: session.sql("SELECT * FROM t", t=wrong))
    assert "t: not a frame" in str(error) and "pl.DataFrame" in error.hint


def addresses(frame: pl.DataFrame) -> dict[str, int]:
    """Where the values of each column lie; of texts the views, which hold those of twelve bytes and fewer themselves."""
    columns = {name: frame[name].to_arrow(compat_level=pl.CompatLevel.newest()) for name in frame.columns}
    chunks = {name: column.chunk(0) if isinstance(column, pa.ChunkedArray) else column for name, column in columns.items()}
    assert all(chunk.type in (pa.int64(), pa.float64(), pa.string_view()) for chunk in chunks.values())
    return {name: chunk.buffers()[1].address for name, chunk in chunks.items()}


def test_memory_is_shared(session: sm.Session) -> None:
    count = 3_000_000
    numbers = pl.DataFrame({"n": np.arange(count), "x": np.random.default_rng(1).random(count)})
    frame = numbers.with_columns(text=pl.format("a text of some length: {}", "n"))
    size = frame.estimated_size()
    gc.collect()
    before = resident_bytes()
    result = session.sql("SELECT * FROM frame", frame=frame)
    grown = resident_bytes() - before
    assert grown < 0.05 * size, f"{grown} bytes for {size}"
    assert addresses(pl.concat([result.slice(0, 1)])) == addresses(frame.slice(0, 1)) == addresses(frame)
    assert_frame_equal(result, frame)


def test_order_is_kept(session: sm.Session) -> None:
    frame = pl.DataFrame({"n": np.random.default_rng(2).permutation(400_000)})
    kept = frame.filter(pl.col("n") % 3 != 0)
    query = "SELECT n, mm_predict('add', n, 1).sum AS sum FROM t WHERE n % 3 <> 0"
    for given in (frame, frame.lazy(), pl.concat([frame[:100_000], frame[100_000:]], rechunk=False)):
        assert session.sql(query, t=given)["n"].equals(kept["n"])
        assert session.scan(query, t=given).collect()["n"].equals(kept["n"])
    assert session.sql("SELECT n FROM t LIMIT 5 OFFSET 3", t=frame)["n"].equals(frame["n"][3:8])


def test_results_as_arrow(session: sm.Session) -> None:
    frame = pl.DataFrame({"n": range(200_000)})
    assert session.stream("SELECT n FROM t", t=frame).to_pyarrow().read_all().num_rows == 200_000
    rows = session.stream("SELECT n FROM t", t=frame)
    assert pa.schema(rows) == pa.schema([("n", pa.int64())])
    assert pa.table(rows).num_rows == 200_000
    error = raised(ValueError, lambda: pa.table(rows))
    assert "has been read" in str(error) and isinstance(error, sm.ArgumentError)
    assert pd.DataFrame(session.sql("SELECT n FROM t LIMIT 2", t=frame).to_dict(as_series=False)).shape == (2, 1)


def test_a_lazy_frame_gives_only_what_is_needed(session: sm.Session) -> None:
    seen: list[pl.DataFrame] = []

    def note(frame: pl.DataFrame) -> pl.DataFrame:
        seen.append(frame)
        return frame

    lazy = pl.LazyFrame({"a": range(10), "b": range(10), "c": range(10)}).map_batches(note, projection_pushdown=True, schema=None)
    assert session.sql("SELECT b FROM t WHERE a > 7", t=lazy)["b"].to_list() == [8, 9]
    assert {tuple(frame.columns) for frame in seen} == {("a", "b")}
    seen.clear()
    assert session.sql("SELECT count(*) FROM t", t=lazy).item() == 10
    assert {tuple(frame.columns) for frame in seen} == {("a",)}
    nothing = pl.LazyFrame({"a": range(10)}).with_columns(b=pl.col("a").map_elements(lambda _: 1 / 0, return_dtype=pl.Float64))
    assert session.sql("SELECT a FROM t LIMIT 3", t=nothing)["a"].to_list() == [0, 1, 2]


def test_an_error_of_a_frame_is_the_callers(session: sm.Session) -> None:
    def fail(_: pl.DataFrame) -> pl.DataFrame:
        raise ZeroDivisionError("of the frame")

    lazy = pl.LazyFrame({"a": [1]}).map_batches(fail, schema={"a": pl.Int64})
    error = raised((ZeroDivisionError, pl.exceptions.ComputeError), lambda: session.sql("SELECT * FROM t", t=lazy))
    assert "of the frame" in str(error)

    def rows() -> Any:
        yield pa.RecordBatch.from_pydict({"a": [1]})
        raise ZeroDivisionError("of the reader")

    reader = pa.RecordBatchReader.from_batches(pa.schema([("a", pa.int64())]), rows())
    error = raised(sm.EngineError, lambda: session.sql("SELECT * FROM t", t=reader))
    assert "of the reader" in str(error)


ARROW: list[Any] = [
    pa.array([True, None, False]),
    *(pa.array([1, None, 3], type=kind) for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())),
    pa.array([0.5, None, -2.0], type=pa.float16()),
    pa.array([0.5, None, -0.0], type=pa.float32()),
    pa.array([float("nan"), None, 1e300], type=pa.float64()),
    *(pa.array(["a", None, "a text that is longer than twelve bytes"], type=kind) for kind in (pa.string(), pa.large_string(), pa.string_view())),
    *(pa.array([b"\x00", None, b"bytes that are longer than twelve"], type=kind) for kind in (pa.binary(), pa.large_binary(), pa.binary_view())),
    pa.array([b"abc", None, b"def"], type=pa.binary(3)),
    pa.array([1, None, 3], type=pa.date32()),
    pa.array([86_400_000, None, 0], type=pa.date64()),
    pa.array([1, None, 3], type=pa.time32("s")),
    pa.array([1, None, 3], type=pa.time64("ns")),
    *(pa.array([1, None, 3], type=pa.timestamp(unit, zone)) for unit, zone in (("s", None), ("ms", "UTC"), ("us", "Europe/Berlin"), ("ns", None))),
    pa.array([1, None, 3], type=pa.duration("s")),
    pa.array([1, None, 3]).cast(pa.decimal128(38, 4)),
    pa.array([1, None, 3]).cast(pa.decimal256(60, 4)),
    pa.array(["x", None, "y"]).dictionary_encode(),
    pa.array(["x", None, "y"]).dictionary_encode().cast(pa.dictionary(pa.int8(), pa.large_string())),
    pa.array([[1, None], None, []], type=pa.list_(pa.int32())),
    pa.array([[1, None], None, []], type=pa.large_list(pa.int32())),
    pa.array([[1.0, 2.0], None, [3.0, 4.0]], type=pa.list_(pa.float32(), 2)),
    pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": None}]),
    pa.array([[("k", 1)], None, []], type=pa.map_(pa.string(), pa.int64())),
    pa.nulls(3),
]


@pytest.mark.parametrize("column", ARROW, ids=[str(column.type) for column in ARROW])
def test_types_of_arrow(session: sm.Session, column: Any) -> None:
    for given in (pa.table({"c": column}), pa.table({"c": pa.chunked_array([column, column.slice(1, 1), column.slice(0, 0)])})):
        found = pa.table(session.stream("SELECT * FROM t", t=given))
        assert found.schema == given.schema
        # Compared as Python's values: NaN is not equal to itself otherwise.
        assert str(found.to_pylist()) == str(given.to_pylist())


def test_types_of_pandas(session: sm.Session) -> None:
    given = pd.DataFrame(
        {
            "int": [1, 2, 3],
            "float": [1.5, None, float("inf")],
            "bool": [True, False, True],
            "text": ["a", None, "c"],
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "category": pd.Categorical(["x", None, "y"]),
            "day": pd.to_datetime(["2026-11-28", None, "2026-11-30"]),
            "zone": pd.to_datetime(["2026-11-28", None, "2026-11-30"], utc=True),
            "gap": pd.to_timedelta([1, None, 3], unit="s"),
            "list": [[1, 2], None, []],
        }
    )
    found = session.sql("SELECT * FROM t", t=given)
    assert_frame_equal(found, pl.from_pandas(given), categorical_as_str=True, check_dtypes=False)
    assert found.schema["day"] == pl.from_pandas(given).schema["day"] and found.schema["zone"].time_zone == "UTC"
    mixed = pd.DataFrame({"what": [1, "a", object()]})
    raised(Exception, lambda: session.sql("SELECT * FROM t", t=mixed))
