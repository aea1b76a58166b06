"""Results that notebooks show as more than a table."""

from __future__ import annotations

import html
from collections import defaultdict
from pathlib import Path
from typing import Any

import polars as pl

from sensorium import _native

# Bars of a plot.
_MOST_BARS = 12
# Rows of a table in a notebook.
_MOST_ROWS = 50


class ModelList:
    """The models of a folder; `frame` has the columns of ``mm_models()``, `rows` how many rows those that are loaded have seen."""

    def __init__(self, frame: pl.DataFrame, rows: dict[str, int]) -> None:
        self.frame = frame
        self.rows = rows

    def __repr__(self) -> str:
        return repr(self.frame)

    def __len__(self) -> int:
        return self.frame.height

    def _repr_html_(self) -> str:
        if not self.frame.height:
            return "<p>no models yet: <code>session.create_model(name, package)</code></p>"
        columns = ["name", "version", "versions", "aliases", "task", "inputs", "created_at"]
        seen = sorted(((name, float(rows)) for name, rows in self.rows.items()), key=lambda pair: -pair[1])
        return _table(self.frame.select(columns)) + _bars("rows that loaded models have seen", seen, "{:,.0f}")


class Evaluation:
    """Figures of a model on rows with labels, by name; `frame` has a row for each, and `page` is the file with curves.

    ``evaluation["auc"]`` is one of them.
    """

    def __init__(self, frame: pl.DataFrame, page: Path) -> None:
        self.frame = frame
        self.page = page

    def __repr__(self) -> str:
        return repr(self.frame)

    def __getitem__(self, figure: str) -> float:
        return float(dict(self.frame.iter_rows())[figure])

    def _repr_html_(self) -> str:
        shares = [(str(name), float(value)) for name, value in self.frame.iter_rows() if value is not None and 0 <= value <= 1]
        link = f'<p><a href="{html.escape(str(self.page))}">{html.escape(str(self.page))}</a></p>'
        return _table(self.frame) + _bars("figures between 0 and 1", shares) + link


class Explanations:
    """Shapley values, a row each; `frame` has ``label``, ``score``, ``base``, ``modalities``, ``features``, ``without``, ``error``."""

    def __init__(self, column: pl.Series) -> None:
        self.frame = column.to_frame().unnest(column.name)

    def __repr__(self) -> str:
        return repr(self.frame)

    def __len__(self) -> int:
        return self.frame.height

    def importance(self) -> dict[str, float]:
        """The mean size of what each feature and modality contributes, largest first; missing rows left out."""
        sums: dict[str, float] = defaultdict(float)
        rows = 0
        for row in self.frame.iter_rows(named=True):
            if row["score"] is None:
                continue
            rows += 1
            for name, value in _contributions(row):
                sums[name] += abs(value)
        return dict(sorted(((name, value / rows) for name, value in sums.items()), key=lambda pair: -pair[1]))

    def _repr_html_(self) -> str:
        if self.frame.height == 1:
            row = self.frame.row(0, named=True)
            pairs = sorted(_contributions(row), key=lambda pair: -abs(pair[1])) if row["score"] is not None else []
            return _bars(f"contributions to the score of '{row['label']}'", pairs)
        return _bars(f"mean size of contributions, {self.frame.height} rows", list(self.importance().items()))


def _contributions(row: dict[str, Any]) -> list[tuple[str, float]]:
    """Features, and those modalities that are not made of features."""
    features, modalities = _pairs(row.get("features")), _pairs(row.get("modalities"))
    return features + [(name, value) for name, value in modalities if not (features and name == "tabular")]


def _pairs(value: Any) -> list[tuple[str, float]]:
    """What a map of Arrow becomes in Polars: a list of ``{key, value}``; or a struct."""
    if not value:
        return []
    if isinstance(value, dict):
        return [(str(name), float(number)) for name, number in value.items() if number is not None]
    return [(str(item["key"]), float(item["value"])) for item in value if item.get("value") is not None]


def _bars(title: str, pairs: list[tuple[str, float]], form: str = "{:.4g}") -> str:
    rows = [(name, value, form.format(value)) for name, value in pairs[:_MOST_BARS]]
    return f"<p>{html.escape(title)}</p>{_native.bars(title, rows)}" if rows else ""


def _table(frame: pl.DataFrame) -> str:
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in frame.columns)
    lines = (
        "<tr>" + "".join(f"<td>{html.escape('' if value is None else str(value))}</td>" for value in row) + "</tr>"
        for row in frame.head(_MOST_ROWS).iter_rows()
    )
    more = f"<p>{frame.height - _MOST_ROWS} more</p>" if frame.height > _MOST_ROWS else ""
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table>{more}"
