"""What notebooks show."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import sensorium as sm
from test_namespace import credit, loans  # noqa: F401 - a fixture


def parsed(page: str) -> ElementTree.Element:
    """Well-formed, or an exception."""
    return ElementTree.fromstring(f"<div>{page}</div>")


def test_models(session: sm.Session, tmp_path: Path) -> None:
    session.create_model("affine", "tests/fixtures/tiny/affine.onnx")
    session.sql("ALTER MODEL affine SET ALIAS champion = 1")
    assert parsed(session.models()._repr_html_()).find("{*}svg") is None
    session.sql("SELECT mm_predict('add', 1, 2)")
    shown = parsed(session.models()._repr_html_())
    assert [cell.text for cell in shown.iter("td")][:4] == ["add", "1", "1", None]
    assert "champion" in "".join(shown.itertext()) and shown.find("{*}svg") is not None
    assert len(session.models()) == 2 and "add" in repr(sm.models())
    empty = sm.Session(models=tmp_path / "none", progress=False).models()._repr_html_()
    assert "create_model" in empty
    session.drop_model("affine")
    session.drop_model("affine", if_exists=True)
    assert session.models().frame["name"].to_list() == ["add"]


def test_explanations(credit: sm.Session) -> None:  # noqa: F811
    explained = credit.explain("risk", loans().head(30))
    importance = explained.importance()
    assert len(explained) == 30 and list(importance.values()) == sorted(importance.values(), reverse=True)
    assert {"Income", "Seniority"} <= importance.keys() and "tabular" not in importance
    svg = parsed(explained._repr_html_()).find("{*}svg")
    assert svg is not None and "30 rows" in svg.attrib["aria-label"]
    one = credit.explain("risk", loans().head(1))
    assert "score of" in parsed(one._repr_html_()).find("{*}svg").attrib["aria-label"]


def test_evaluation(credit: sm.Session, tmp_path: Path) -> None:  # noqa: F811
    page = tmp_path / "page"
    judged = credit.evaluate("risk", loans(), to=page, sample=20)
    assert 0.5 < judged["auc"] <= 1
    assert judged.page.is_file() and judged.page.parent == page
    assert "auc" in "".join(parsed(judged._repr_html_()).itertext())
    by_query = sm.evaluate("risk", "SELECT * FROM 'examples/data/credit_data.parquet' LIMIT 800", to=tmp_path / "other", sample=0)
    assert by_query.frame.height > 5
    assert by_query["rows"] == 800
