"""A line about how far a query is, in terminals and notebooks."""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import Any


def is_watched() -> bool:
    """Whether somebody looks: in a terminal or a notebook."""
    if "ipykernel" in sys.modules:
        return True
    return sys.stderr is not None and sys.stderr.isatty()


class Bar:
    """Models with their rows, rows a second, and where the time goes."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            # Notebooks without widgets have the line as text.
            warnings.simplefilter("ignore")
            make: Any = importlib.import_module("tqdm.auto").tqdm
            self._bar = make(total=None, leave=False, bar_format="{elapsed} {desc}")

    def show(self, lines: list[str]) -> None:
        """Replaces what is shown."""
        self._bar.set_description_str("  ".join(lines))

    def close(self) -> None:
        """Takes the line away."""
        self._bar.close()
