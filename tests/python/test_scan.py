"""Queries as lazy frames: what Polars pushes down reaches the engine, and answers stay the same."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import sensorium as sm
from sensorium._predicate import to_sql

QUERY = "SELECT *, mm_predict('add', n, 1).sum AS sum FROM t"


def rows_run(session: sm.Session, act: Callable[[], Any]) -> int:
    before = session.model_rows().get("add@1", 0)
    act()
    return session.model_rows().get("add@1", 0) - before


@pytest.fixture
def uncached(session: sm.Session) -> sm.Session:
    session.set(cache_bytes=0)
    session.sql("SELECT mm_predict('add', 1, 1)")
    return session


def test_a_column_that_nobody_wants_is_not_computed(uncached: sm.Session) -> None:
    frame = pl.DataFrame({"n": range(50_000)})
    lazy = uncached.scan(QUERY, t=frame)
    assert rows_run(uncached, lambda: lazy.select("n").collect()) == 0
    assert rows_run(uncached, lambda: lazy.select("sum").collect()) == 50_000


def test_a_predicate_reaches_the_engine(uncached: sm.Session) -> None:
    lazy = uncached.scan(QUERY, t=pl.DataFrame({"n": range(50_000)}))
    few = lazy.filter(pl.col("n") < 100)
    assert rows_run(uncached, lambda: few.collect()) == 100
    assert few.collect()["n"].to_list() == list(range(100))
    assert lazy.filter(pl.col("n") < 10, pl.col("sum") > 5).select("sum").collect()["sum"].to_list() == [6, 7, 8, 9, 10]


def test_the_first_rows_stop_the_engine(uncached: sm.Session) -> None:
    frame = pl.DataFrame({"n": range(2_000_000)})
    for given in (frame, frame.lazy()):
        lazy = uncached.scan(QUERY, t=given)
        ran = rows_run(uncached, lambda lazy=lazy: lazy.head(10).collect())
        assert ran <= 10, ran
        ran = rows_run(uncached, lambda lazy=lazy: lazy.filter(pl.col("sum") > 5).head(10).collect(engine="streaming"))
        assert ran < 1_500_000, ran
    with uncached.stream(QUERY, t=frame) as stream:
        first = next(iter(stream))
    assert first["n"].to_list()[:3] == [0, 1, 2]


def test_a_lazy_frame_can_be_collected_again(session: sm.Session) -> None:
    lazy = session.scan(QUERY, t=pl.LazyFrame({"n": [1, 2]}))
    session.create_model("add", "tests/fixtures/tiny/doubles.onnx", replace=True)
    assert lazy.collect().equals(lazy.collect())
    joined = lazy.join(lazy.select("n", twice=pl.col("sum") * 2), on="n").sort("n").collect()
    assert joined["twice"].to_list() == [4, 6]


def test_queries_over_queries(session: sm.Session) -> None:
    inner = session.scan(QUERY, t=pl.LazyFrame({"n": range(1000)}))
    outer = session.scan("SELECT n, sum * 2 AS double FROM inner_rows WHERE n >= 990", inner_rows=inner)
    assert outer.filter(pl.col("n") > 997).collect().rows() == [(998, 1998.0), (999, 2000.0)]


@pytest.mark.parametrize("names", [["^ab$", "ab"], ["^a.*$", "b", "*"], ["*", "a"], ["", " "], ['quo"te', "it's", "new\nline"]])
def test_names_that_look_like_patterns(session: sm.Session, names: list[str]) -> None:
    frame = pl.DataFrame({name: [1 + place, 2, 3] for place, name in enumerate(names)})
    for given in (frame, frame.lazy()):
        scanned = session.scan("SELECT * FROM t", t=given)
        assert_frame_equal(scanned.collect(), frame)
        assert_frame_equal(session.sql("SELECT * FROM t", t=given), frame)
        for place in range(len(names)):
            assert_frame_equal(scanned.select(pl.nth(place)).collect(), frame.select(pl.nth(place)))
            assert_frame_equal(scanned.filter(pl.nth(1) > 2).select(pl.nth(place)).collect(), frame.filter(pl.nth(1) > 2).select(pl.nth(place)))
        quoted = names[0].replace('"', '""')
        assert session.sql(f'SELECT "{quoted}" FROM t', t=given).to_series().to_list() == frame.to_series().to_list()


def test_other_ways_to_use_a_scan(session: sm.Session, tmp_path: Path) -> None:
    frame = pl.DataFrame({"n": range(1000), "s": [{"a": number % 7} for number in range(1000)]})
    lazy = session.scan("SELECT * FROM t", t=frame.lazy())
    for change in (
        lambda rows: rows.with_row_index("i").filter(pl.col("n") > 500),
        lambda rows: rows.tail(3),
        lambda rows: rows.slice(-10, 4),
        lambda rows: rows.filter(pl.col("s").struct.field("a") == 3),
        lambda rows: rows.filter(pl.col("n").map_batches(lambda n: n % 5 == 0, return_dtype=pl.Boolean)),
        lambda rows: rows.join(rows.select("n"), on="n", maintain_order="left"),
        lambda rows: pl.concat([rows, rows]),
        lambda rows: rows.select(pl.len()),
        lambda rows: rows.group_by("s", maintain_order=True).len(),
    ):
        assert_frame_equal(change(lazy).collect(), change(frame.lazy()).collect())
        assert_frame_equal(change(lazy).collect(engine="streaming"), change(frame.lazy()).collect(engine="streaming"), check_row_order=False)
    lazy.sink_parquet(tmp_path / "rows.parquet")
    assert_frame_equal(pl.read_parquet(tmp_path / "rows.parquet"), frame)


def test_rows_of_several_sources_keep_their_order(session: sm.Session, tmp_path: Path) -> None:
    one, other = pl.DataFrame({"n": range(300_000)}), pl.DataFrame({"n": range(300_000, 600_000)})
    together = pl.concat([one, other])
    query = "SELECT n FROM one UNION ALL SELECT n FROM other"
    together.write_parquet(tmp_path / "rows.parquet", row_group_size=20_000)
    session.set(allowed_roots=[str(tmp_path)])
    file = f"SELECT n FROM '{tmp_path / 'rows.parquet'}' WHERE n >= 0"
    for _ in range(3):
        for sql, frames in ((query, {"one": one, "other": other}), (file, {})):
            assert session.sql(sql, **frames)["n"].equals(together["n"])
            assert session.scan(sql, **frames).collect()["n"].equals(together["n"])
            assert pl.concat(session.stream(sql, **frames))["n"].equals(together["n"])
            for _ in range(20):
                assert session.scan(sql, **frames).head(3).collect()["n"].to_list() == [0, 1, 2]
            assert session.scan(sql, **frames).head(300_001).collect()["n"].equals(together["n"].head(300_001))


def test_the_dialect_of_a_session_is_its_own_affair(session: sm.Session) -> None:
    session.set(**{"datafusion.sql_parser.dialect": "mysql"})
    frame = pl.DataFrame({"s": ["x", "y"], "n": [1, 2]})
    lazy = session.scan("SELECT * FROM t", t=frame)
    assert lazy.filter(pl.col("s") == "x").collect().height == 1
    assert lazy.filter(pl.col("n") > 1).collect().height == 1
    assert frame.mm.predict("add", "n", 1)["prediction"].struct.field("sum").to_list() == [2.0, 3.0]
    assert frame.lazy().mm.predict("add", "n", 1).select("s").collect()["s"].to_list() == ["x", "y"]


def test_volatile_functions_run_each_time(session: sm.Session) -> None:
    lazy = session.scan("SELECT random() AS r, n FROM t", t=pl.DataFrame({"n": range(5)}))
    both = lazy.join(lazy, on="n").collect()
    assert not both["r"].equals(both["r_right"])


def test_only_queries(session: sm.Session) -> None:
    for statement in ("CREATE MODEL x FROM 'y'", "SET mm.device = 'cpu'", "CREATE TABLE t AS SELECT 1", "DROP MODEL add"):
        with pytest.raises(sm.SensoriumError):
            session.scan(statement)
    assert session.models().frame["name"].to_list() == ["add"]


VALUES = {
    "i": pl.Series([None, -3, 0, 3, 7, 2**62], dtype=pl.Int64),
    "u": pl.Series([0, 1, None, 5, 2**63, 2**64 - 1], dtype=pl.UInt64),
    "x": pl.Series([None, float("nan"), -math.nan, -0.0, 0.1, float("inf")], dtype=pl.Float64),
    "f": pl.Series([0.1, None, -math.nan, -0.0, 3.5, float("-inf")], dtype=pl.Float32),
    "s": pl.Series(["", "a", "it's", None, "A", "a b"], dtype=pl.String),
    "b": pl.Series([True, False, None, True, False, True]),
    "d": pl.Series(["2026-01-01"] * 6, dtype=pl.String).str.to_date(),
}


def predicates(seed: int) -> pl.Expr:
    """Some predicate; not all of them can be pushed down."""
    draw = random.Random(seed)
    literals: dict[str, list[Any]] = {
        "i": [-3, 0, 3, 2**62, 1.5], "u": [0, 5, 2**63, 2**64 - 1], "x": [0.0, -0.0, 0.1, 3, float("nan"), float("inf")],
        "f": [0.1, 0.0, 3.5, -1], "s": ["", "a", "it's"], "b": [True, False],
    }

    def leaf() -> pl.Expr:
        name = draw.choice(list(literals))
        column, value = pl.col(name), draw.choice(literals[name])
        other = draw.choice(literals[name])
        forms: list[Callable[[], pl.Expr]] = [
            lambda: column == value, lambda: column != value, column.is_null, column.is_not_null, lambda: column.is_in(pl.lit(pl.Series([value], dtype=VALUES[name].dtype, strict=False)).implode()),
        ]
        if name != "b":
            forms += [lambda: column < value, lambda: column <= value, lambda: column > value, lambda: column >= value]
            forms += [lambda: column.is_between(pl.lit(value), pl.lit(other)), lambda: column.is_between(pl.lit(value), pl.lit(other), closed="none")]
            forms += [lambda: pl.lit(value) < column]
        else:
            forms += [lambda: column, lambda: ~column]
        return draw.choice(forms)()

    def tree(depth: int) -> pl.Expr:
        if depth == 0 or draw.random() < 0.3:
            return leaf()
        return draw.choice([lambda a, b: a & b, lambda a, b: a | b, lambda a, b: ~a & b])(tree(depth - 1), tree(depth - 1))

    return tree(3)


def test_predicates_mean_the_same(session: sm.Session) -> None:
    # All pairs of values of two columns each, so that nulls and NaN meet everything.
    frame = pl.concat([pl.DataFrame({name: values.sample(6, shuffle=True, seed=seed) for name, values in VALUES.items()}) for seed in range(40)])
    lazy = session.scan("SELECT * FROM t", t=frame)
    pushed = 0
    for seed in range(300):
        predicate = predicates(seed)
        pushed += to_sql(predicate, frame.schema) is not None
        assert_frame_equal(lazy.filter(predicate).collect(), frame.filter(predicate))
        assert_frame_equal(lazy.filter(predicate).select("d").head(3).collect(), frame.filter(predicate).select("d").head(3))
        assert_frame_equal(lazy.head(9).filter(predicate).collect(), frame.head(9).filter(predicate))
    assert pushed > 100, pushed


def test_predicates_that_are_not_understood(session: sm.Session) -> None:
    frame = pl.DataFrame({"s": ["abc", "b"], "n": [1, 2]})
    schema = frame.schema
    assert to_sql(pl.col("s").str.contains("a"), schema) is None
    assert to_sql(pl.col("n") % 2 == 0, schema) is None
    assert to_sql((pl.col("n") % 2 == 0) & (pl.col("n") > 0), schema) == '("n" > 0)'
    assert to_sql((pl.col("n") % 2 == 0) | (pl.col("n") > 0), schema) is None
    assert session.scan("SELECT * FROM t", t=frame).filter(pl.col("s").str.contains("a")).collect().height == 1
