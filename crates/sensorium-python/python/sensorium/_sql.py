"""Values of Python as pieces of SQL."""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

from sensorium._errors import ArgumentError


def identifier(name: str) -> str:
    """A name in double quotes.

    >>> print(identifier('a "b" c'))
    "a ""b"" c"
    """
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A text in single quotes.

    >>> text("it's")
    "'it''s'"
    """
    return "'" + value.replace("'", "''") + "'"


def options(values: Mapping[str, Any]) -> str:
    """``OPTIONS (..)`` of a statement about models, or nothing.

    >>> print(options({"label": "churned", "optional": ["photo"], "seed": 7, "reasons": {"a": "too high"}}))
     OPTIONS (label = 'churned', optional = ['photo'], seed = 7, reasons = {"a": 'too high'})
    """
    if not values:
        return ""
    return " OPTIONS (" + ", ".join(f"{_word(name)} = {_option(name, value)}" for name, value in values.items()) + ")"


def struct(values: Mapping[str, Any]) -> str:
    """Options of a call.

    >>> print(struct({"max_tokens": 64, "stop": ["."]}))
    {"max_tokens": 64, "stop": ['.']}
    """
    return "{" + ", ".join(f"{identifier(_word(name))}: {_option(name, value)}" for name, value in values.items()) + "}"


def _word(name: str) -> str:
    if not name.isidentifier():
        raise ArgumentError(f"not the name of an option: {name!r}")
    return name


def _option(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, numbers.Integral):
        return repr(int(value))
    if isinstance(value, numbers.Real) and math.isfinite(value):
        return repr(float(value))
    if isinstance(value, str):
        return text(value)
    if isinstance(value, Mapping) and name == "json_schema":
        return text(json.dumps(value))
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{identifier(str(key))}: {text(str(item))}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(text(str(item)) for item in value) + "]"
    raise ArgumentError(f"option {name}: a {type(value).__name__}", hint="a text, a number, True or False, a list or a dict of texts")


def setting(name: str, value: Any) -> tuple[str, str]:
    """A setting's full name and value, as ``SET`` takes them.

    >>> setting("allowed_roots", ["/a", "/b"])
    ('mm.allowed_roots', '/a,/b')
    """
    key = name if name.startswith(("mm.", "datafusion.")) else f"mm.{name}"
    if isinstance(value, bool):
        return key, "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return key, ",".join(str(item) for item in value)
    return key, str(value)
