"""Frames of other libraries as the engine takes them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl
import polars.selectors as cs

from sensorium import _native
from sensorium._errors import ArgumentError

# Rows that a lazy frame is asked for at once.
_BATCH_ROWS = 65_536

Described = tuple[str, object]


def describe_all(frames: Mapping[str, Any]) -> list[tuple[str, Described]]:
    """Each frame with its name and how it is read."""
    return [(name, describe(name, frame)) for name, frame in frames.items()]


def describe(name: str, frame: Any) -> Described:
    """``("memory", object)`` where all rows are there, ``("source", object)`` where Python reads them, else ``("stream", object)``.

    Raises:
        ArgumentError: If it is no frame, or has a column that Arrow cannot hold.
    """
    if isinstance(frame, pl.Series):
        frame = frame.to_frame()
    if isinstance(frame, pl.DataFrame):
        _refuse_what_arrow_lacks(name, frame.schema)
        return "memory", frame
    if isinstance(frame, pl.LazyFrame):
        return "source", _LazyRows(name, frame)
    if _is_in_memory(frame):
        return "memory", frame
    if hasattr(frame, "__arrow_c_stream__"):
        return "stream", frame
    if hasattr(frame, "__arrow_c_array__"):
        return "memory", frame
    raise ArgumentError(
        f"{name}: not a frame: {type(frame).__module__}.{type(frame).__qualname__}",
        hint="a frame of Polars, pandas or pyarrow, or anything with __arrow_c_stream__; pl.DataFrame(..) makes one of lists",
    )


def to_polars(batches: _native.Batches) -> pl.DataFrame:
    """What the engine gave, as a frame over the same memory.

    Raises:
        ArgumentError: If Polars has no frame of the kind.
    """
    batches.check_for_polars()
    return pl.DataFrame(batches)


def _is_in_memory(frame: object) -> bool:
    # Looked up and not imported: who has made such a frame has imported its library.
    pandas, pyarrow = sys.modules.get("pandas"), sys.modules.get("pyarrow")
    if pandas is not None and isinstance(frame, pandas.DataFrame):
        return True
    return pyarrow is not None and isinstance(frame, (pyarrow.Table, pyarrow.RecordBatch))


def _refuse_what_arrow_lacks(name: str, schema: Mapping[str, Any]) -> None:
    for column, dtype in schema.items():
        kind = _unknown_to_arrow(dtype)
        if kind == "Object":
            raise ArgumentError(
                f"{name}: column '{column}' holds Python objects, which have no Arrow type",
                hint=f"leave it out (.drop('{column}')), or make texts, numbers or structs of it first",
            )
        if kind is not None:
            raise ArgumentError(
                f"{name}: column '{column}' is {kind}, which Arrow has no type for",
                hint="cast it to Int64, Decimal or String, or leave it out",
            )


def _unknown_to_arrow(dtype: Any) -> str | None:
    """Name of the type, or of one inside of it, that cannot be passed on."""
    if isinstance(dtype, pl.Struct):
        return next((kind for field in dtype.fields if (kind := _unknown_to_arrow(field.dtype))), None)
    if isinstance(dtype, (pl.List, pl.Array)):
        return _unknown_to_arrow(dtype.inner)
    kind = str(dtype.base_type())
    return kind if kind in ("Object", "Int128", "UInt128") else None


class _LazyRows:
    """A lazy frame, of which only the columns and rows that a query needs are read, batch by batch."""

    def __init__(self, name: str, frame: pl.LazyFrame) -> None:
        self._frame = frame
        self._schema = frame.collect_schema()
        _refuse_what_arrow_lacks(name, self._schema)

    def empty(self) -> pl.DataFrame:
        """Its columns, without rows."""
        return pl.DataFrame(schema=self._schema)

    def read(self, columns: list[str], limit: int | None) -> Iterator[pl.DataFrame]:
        """The first ``limit`` rows of some columns; one column where no values are needed, but their number."""
        frame = self._frame
        # By their names: `select` would take some for patterns.
        if names := columns or self._schema.names()[:1]:
            frame = frame.select(cs.by_name(*names))
        if limit is not None:
            frame = frame.head(limit)
        # The other engine would make all rows before it gives the first.
        return iter(frame.collect_batches(chunk_size=_BATCH_ROWS, maintain_order=True, lazy=True, engine="streaming"))
