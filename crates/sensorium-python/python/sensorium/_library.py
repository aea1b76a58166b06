"""ONNX Runtime's library, as the ``onnxruntime`` wheel brings it along."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from sensorium import _native

# Of Linux, macOS and Windows; a version may follow on Linux and stand before the ending on macOS.
_NAMES = ("libonnxruntime.so*", "libonnxruntime*.dylib", "onnxruntime.dll")


def prefer_installed() -> None:
    """Has the engine load the library of the ``onnxruntime`` package, which is not imported, unless ``ORT_DYLIB_PATH`` is set."""
    try:
        package = importlib.util.find_spec("onnxruntime")
    except (ImportError, ValueError):
        return
    for folder in (package.submodule_search_locations if package else None) or ():
        for name in _NAMES:
            for library in sorted(Path(folder, "capi").glob(name)):
                _native.prefer_library(str(library))
                return
