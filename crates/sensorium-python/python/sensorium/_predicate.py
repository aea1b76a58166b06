"""Predicates of Polars as SQL, so that the engine needs to read, and models to run on, fewer rows.

A predicate is pushed down as far as it is understood and as far as both sides mean the same; what is left out keeps more rows,
never fewer, and Polars filters what comes back. The form in which Polars writes expressions is not a stable one
(``Expr.meta.serialize``): what is not known is not pushed down.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from typing import Any

import polars as pl

from sensorium._sql import identifier, text

_COMPARISONS = {"Eq": "=", "NotEq": "<>", "Lt": "<", "LtEq": "<=", "Gt": ">", "GtEq": ">="}
_MIRRORED = {"Eq": "Eq", "NotEq": "NotEq", "Lt": "Gt", "LtEq": "GtEq", "Gt": "Lt", "GtEq": "LtEq"}
_INTEGERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)
_FLOATS = (pl.Float32, pl.Float64)


def to_sql(predicate: pl.Expr, schema: Mapping[str, Any]) -> str | None:
    """SQL that holds wherever ``predicate`` does, or ``None`` if nothing of it is understood."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = json.loads(predicate.meta.serialize(format="json"))
    except Exception:  # noqa: BLE001 - whatever it is, Polars can still filter by itself
        return None
    return _condition(tree, schema)


def _condition(node: Any, schema: Mapping[str, Any]) -> str | None:
    if not isinstance(node, dict) or len(node) != 1:
        return None
    ((kind, body),) = node.items()
    if kind == "Column" and schema.get(body) == pl.Boolean:
        return identifier(body)
    if kind == "BinaryExpr":
        return _binary(body, schema)
    if kind == "Function":
        return _function(body, schema)
    return None


def _binary(body: Any, schema: Mapping[str, Any]) -> str | None:
    operator, left, right = body.get("op"), body.get("left"), body.get("right")
    if operator in ("And", "LogicalAnd"):
        parts = [part for part in (_condition(left, schema), _condition(right, schema)) if part is not None]
        return f"({' AND '.join(parts)})" if parts else None
    if operator in ("Or", "LogicalOr"):
        one, other = _condition(left, schema), _condition(right, schema)
        # Half of an alternative would drop rows of the other half.
        return None if one is None or other is None else f"({one} OR {other})"
    if operator not in _COMPARISONS:
        return None
    if _column(left) is None:
        left, right, operator = right, left, _MIRRORED[operator]
    column = _column(left)
    return None if column is None else _compare(column, operator, right, schema.get(column))


def _compare(column: str, operator: str, literal: Any, dtype: Any) -> str | None:
    name, value = identifier(column), _literal(literal)
    if value is None or dtype is None:
        return None
    if isinstance(value, bool):
        return f"{name} {_COMPARISONS[operator]} {str(value).lower()}" if dtype == pl.Boolean and operator in ("Eq", "NotEq") else None
    if dtype in _INTEGERS and isinstance(value, int):
        # Beyond 64 bits SQL would read a number with a fraction.
        return f"{name} {_COMPARISONS[operator]} {value}" if -(2**63) <= value < 2**63 else None
    if dtype in _FLOATS and isinstance(value, (int, float)) and abs(value) < 2**53:
        return _compare_float(name, operator, float(value), dtype)
    if dtype == pl.String and isinstance(value, str) and operator in ("Eq", "NotEq"):
        return f"{name} {_COMPARISONS[operator]} {text(value)}"
    return None


def _compare_float(name: str, operator: str, value: float, dtype: Any) -> str | None:
    """Bounds that are widened where the two sides may differ: in the sign of zero, and in how a literal is rounded to 32 bits."""
    if not math.isfinite(value):
        return None
    low = math.nextafter(value, -math.inf) if dtype == pl.Float64 else value - abs(value) * 1e-6 - 1e-37
    high = math.nextafter(value, math.inf) if dtype == pl.Float64 else value + abs(value) * 1e-6 + 1e-37
    if operator == "Eq":
        return f"({name} >= {_number(low)} AND {name} <= {_number(high)})"
    if operator in ("Gt", "GtEq"):
        # To Polars every NaN is the largest number, to SQL one with a sign is the smallest.
        return f"({name} >= {_number(low)} OR isnan({name}))"
    if operator in ("Lt", "LtEq"):
        return f"{name} <= {_number(high)}"
    return None


def _number(value: float) -> str:
    return f"CAST('{value!r}' AS DOUBLE)"


def _function(body: Any, schema: Mapping[str, Any]) -> str | None:
    function = body.get("function")
    boolean = function.get("Boolean") if isinstance(function, dict) else None
    inputs = body.get("input") or []
    if boolean in ("IsNull", "IsNotNull") and len(inputs) == 1 and _column(inputs[0]) in schema:
        return f"{identifier(str(_column(inputs[0])))} {'IS NULL' if boolean == 'IsNull' else 'IS NOT NULL'}"
    if isinstance(boolean, dict) and "IsBetween" in boolean and len(inputs) == 3:
        column = _column(inputs[0])
        if column is None:
            return None
        # Both ends are let in; Polars leaves them out where they are not meant.
        ends = (_compare(column, "GtEq", inputs[1], schema.get(column)), _compare(column, "LtEq", inputs[2], schema.get(column)))
        parts = [end for end in ends if end is not None]
        return f"({' AND '.join(parts)})" if parts else None
    return None


def _column(node: Any) -> str | None:
    name = node.get("Column") if isinstance(node, dict) else None
    return name if isinstance(name, str) else None


def _literal(node: Any) -> Any:
    """The value of a literal of one of the simple types."""
    body = node.get("Literal") if isinstance(node, dict) and len(node) == 1 else None
    if not isinstance(body, dict) or len(body) != 1:
        return None
    ((kind, inner),) = body.items()
    if kind not in ("Dyn", "Scalar") or not isinstance(inner, dict) or len(inner) != 1:
        return None
    ((dtype, value),) = inner.items()
    simple = dtype in ("Int", "Float", "Str", "String", "Boolean", "Float64") or dtype.startswith(("Int", "UInt"))
    return value if simple and isinstance(value, (bool, int, float, str)) else None
