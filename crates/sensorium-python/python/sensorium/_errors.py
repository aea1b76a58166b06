"""Exceptions, one class for each code."""

from __future__ import annotations

from typing import Any


class SensoriumError(Exception):
    """What went wrong, and what to do about it.

    Attributes:
        code: The class of the error, as in the column ``code`` of ``mm_errors()``; ``sql`` and ``engine`` where no model is the cause.
        hint: What to do, if anything is known.
        rows: The rows that failed: ``{"function", "row", "uri", "step"}`` each, rows of a query counted from 0.
    """

    code = "engine"

    def __init__(self, message: str, *, hint: str | None = None, rows: list[dict[str, Any]] | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.rows = rows or []

    def __str__(self) -> str:
        message = super().__str__()
        return message if self.hint is None else f"{message}\n\nhint: {self.hint}"

    def __reduce__(self) -> tuple[Any, ...]:
        # So that an error reaches the parent of a pool's process as it is.
        return exception, (self.code, self.args[0], self.hint, self.rows)


class PackageError(SensoriumError):
    """The files of a model do not say enough, or say something that cannot be carried out."""

    code = "package"


class CatalogError(SensoriumError, LookupError):
    """A model, version or alias does not exist, or exists already."""

    code = "catalog"


class ArgumentError(SensoriumError, ValueError):
    """The arguments of a call do not fit the inputs of its model."""

    code = "argument"


class SettingError(SensoriumError, ValueError):
    """A setting or option has a value that makes no sense."""

    code = "setting"


class RuntimeUnavailableError(SensoriumError, RuntimeError):
    """ONNX Runtime, or the device that was asked for, cannot be used; or the process was forked."""

    code = "runtime"


class ForbiddenError(SensoriumError, PermissionError):
    """A URI is outside of the allowed roots."""

    code = "forbidden"


class FetchError(SensoriumError, OSError):
    """Bytes could not be read from where a URI or path points to."""

    code = "fetch"


class MediaError(SensoriumError):
    """Bytes are not a picture, sound or text that can be used."""

    code = "media"


class LimitError(SensoriumError):
    """An input, or what a query holds in memory, is larger than a setting allows."""

    code = "limit"


class ModelError(SensoriumError):
    """The model itself failed, or returned something unusable."""

    code = "model"


class CancelledError(SensoriumError):
    """The query was cancelled."""

    code = "cancelled"


class SqlError(SensoriumError):
    """The statement is not well formed, or names what is not there."""

    code = "sql"


class EngineError(SensoriumError):
    """The query failed while it ran, and no model is the cause."""

    code = "engine"


_CLASSES: dict[str, type[SensoriumError]] = {
    kind.code: kind
    for kind in (
        PackageError,
        CatalogError,
        ArgumentError,
        SettingError,
        RuntimeUnavailableError,
        ForbiddenError,
        FetchError,
        MediaError,
        LimitError,
        ModelError,
        CancelledError,
        SqlError,
        EngineError,
    )
}


def exception(code: str, message: str, hint: str | None = None, rows: list[dict[str, Any]] | None = None) -> SensoriumError:
    """The exception for a code; the engine makes its errors by this."""
    return _CLASSES.get(code, EngineError)(message, hint=hint, rows=rows)
