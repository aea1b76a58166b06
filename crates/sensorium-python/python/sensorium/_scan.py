"""A query of the engine as a source of a lazy query of Polars."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
from polars.io.plugins import register_io_source

from sensorium import _native
from sensorium._frames import to_polars
from sensorium._predicate import to_sql


def scan_plan(plan: _native.Plan) -> pl.LazyFrame:
    """The plan as a lazy frame; what Polars pushes down, the engine does."""
    schema = to_polars(plan.empty()).schema

    def rows(
        columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_rows: int | None
    ) -> Iterator[pl.DataFrame]:
        # Rows are counted before the predicate: Polars pushes down a slice below a filter only.
        understood = None if predicate is None or n_rows is not None else to_sql(predicate, schema)
        needed = None if columns is None else list(dict.fromkeys([*columns, *_others(predicate, columns)]))
        reader = plan.read(needed, understood, n_rows)
        # Frames without rows come while there are none: Polars, which may call this on any thread, then hears of Ctrl-C.
        while (batch := reader.poll()) is not None:
            frame = to_polars(batch)
            if predicate is not None:
                frame = frame.filter(predicate)
            # By their names: `select` would take some for patterns.
            yield frame if columns is None else frame[columns]

    return register_io_source(rows, schema=schema, is_pure=plan.is_repeatable())


def _others(predicate: pl.Expr | None, columns: list[str]) -> list[str]:
    """Columns that the predicate alone needs."""
    return [] if predicate is None else [name for name in predicate.meta.root_names() if name not in columns]
