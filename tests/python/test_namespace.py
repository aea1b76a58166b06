"""`df.mm` and `lf.mm` with real models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import sensorium as sm
from conftest import ROOT, raised, texts


@pytest.fixture
def credit(tmp_path: Path) -> sm.Session:
    """The loan book's model, fitted here."""
    session = sm.Session(models=tmp_path / "models", progress=False)
    session.create_model("risk", loans(), label="Status", head="trees", seed=7, adverse="bad")
    return session


def loans() -> pl.DataFrame:
    return pl.read_parquet(ROOT / "examples/data/credit_data.parquet").head(1500)


def test_inputs_in_order_and_by_name(session: sm.Session) -> None:
    frame = pl.DataFrame({"a": [1.0, None, 3.0], "b": [10, 20, 30], "prediction": ["x", "y", "z"]})
    expected = [{"sum": 11.0}, None, {"sum": 33.0}]
    for given in (frame, frame.lazy()):
        for result in (
            given.mm.predict("add", "a", "b"),
            given.mm.predict("add", a="a", b="b"),
            given.mm.predict("add", b=pl.col("b"), a=pl.col("a")),
            given.mm.predict("add"),
        ):
            result = result.lazy().collect()
            assert result.columns == ["a", "b", "prediction"]
            assert result["prediction"].to_list() == expected
    twice = frame.mm.predict("add", pl.col("b") * 2, 1, name="p")
    assert twice["p"].struct.field("sum").to_list() == [21.0, 41.0, 61.0]
    assert frame.mm.predict("add", 1, 2, name="p")["p"].struct.field("sum").to_list() == [3.0] * 3
    assert frame.head(0).mm.predict("add", "a", "b").schema["prediction"] == pl.Struct({"sum": pl.Float32})
    error = raised(sm.ArgumentError, lambda: frame.mm.predict("add", "a", b="b"))
    assert "by name" in str(error)
    raised(sm.ArgumentError, lambda: frame.mm.predict("add", "a"))
    raised(pl.exceptions.ColumnNotFoundError, lambda: frame.mm.predict("add", "nope", "b"))


def test_inputs_of_any_name(session: sm.Session) -> None:
    frame = pl.DataFrame({"a": [1.0], "__mm_input_0": [2.0], "prediction": [0.0], "z": ["z"]})
    for given in (frame, frame.lazy()):
        found = given.mm.predict("add", "a", "__mm_input_0").lazy().collect()
        assert found.columns == frame.columns
        assert found.row(0) == (1.0, 2.0, {"sum": 3.0}, "z")
        assert given.mm.predict("add", inputs={"b": "a", "a": 1}, name="p").lazy().collect()["p"].to_list() == [{"sum": 2.0}]
        assert given.mm.predict("add", inputs=["a", "a"], name="p").lazy().collect()["p"].to_list() == [{"sum": 2.0}]
        error = raised(sm.ArgumentError, lambda given=given: given.mm.predict("add", pl.col("a", "z"), 1))
        assert "several columns" in str(error)


def test_columns_are_not_copied(session: sm.Session) -> None:
    frame = pl.concat([pl.DataFrame({"a": [1.0, 2.0], "b": [1.0, 2.0]})] * 3, rechunk=False)
    result = frame.mm.predict("add", "a", "b")
    assert [chunk.to_arrow().buffers()[1].address for chunk in result["a"].get_chunks()] == [
        chunk.to_arrow().buffers()[1].address for chunk in frame["a"].get_chunks()
    ]


def test_a_trained_model(credit: sm.Session) -> None:
    rows = loans().head(40)
    frame = rows.mm.predict("risk", name="p").mm.explain("risk", name="e").mm.reasons("risk", k=2, name="r")
    assert frame.width == rows.width + 3
    for row in frame.iter_rows(named=True):
        parts = row["e"]["base"] + sum(item["value"] for item in as_pairs(row["e"]["modalities"]))
        assert abs(parts - row["e"]["score"]) < 1e-6
        assert len(row["r"]) <= 2
    lazy = rows.lazy().mm.predict("risk", name="p").select("p").collect()
    assert lazy.equals(frame.select("p"))
    sql = credit.sql("SELECT mm_predict('risk', t.*) AS p FROM t", t=rows)
    assert sql.equals(frame.select("p"))


def as_pairs(value: object) -> list[dict[str, float]]:
    if isinstance(value, dict):
        return [{"key": name, "value": number} for name, number in value.items()]
    assert isinstance(value, list)
    return value


def test_vectors(minilm: sm.Session) -> None:
    frame = pl.DataFrame({"note": ["paid late", "always in time", None, "paid late"]})
    embedded = frame.mm.embed("minilm", "note", name="v")
    assert embedded.schema["v"] == pl.Array(pl.Float32, 384)
    assert embedded["v"].null_count() == 1
    assert np.allclose(embedded["v"][0].to_numpy(), embedded["v"][3].to_numpy(), atol=1e-6)
    near = embedded.mm.similarity("v", "v", name="s")["s"]
    assert near[0] == pytest.approx(1.0, abs=1e-6) and near[2] is None
    lazy = frame.lazy().mm.embed("minilm", "note").filter(pl.col("note") == "always in time").collect()
    assert lazy.height == 1
    categories = pl.DataFrame({"note": pl.Series(texts(3) * 2, dtype=pl.Categorical)})
    assert categories.mm.embed("minilm", "note")["embedding"].null_count() == 0


def test_bytes_are_media(tmp_path: Path, cached: Callable[[str], str]) -> None:
    session = sm.Session(models=tmp_path / "models", progress=False)
    session.create_model("effnet", cached("models/efficientnet-lite0"))
    paths = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "examples/data/photographs").iterdir()) if path.suffix in (".jpg", ".png")]
    assert len(paths) > 2
    by_path = pl.DataFrame({"photo": paths}).mm.predict("effnet", "photo")["prediction"].struct.field("label")
    content = pl.Series("photo", [(ROOT / path).read_bytes() for path in paths])
    assert content.to_frame().mm.predict("effnet", "photo")["prediction"].struct.field("label").equals(by_path)
    assert session.sql("SELECT mm_predict('effnet', photo).label AS label FROM photos", photos=content)["label"].equals(by_path)


def test_sounds(tmp_path: Path, cached: Callable[[str], str]) -> None:
    sm.Session(models=tmp_path / "models", progress=False).create_model("whisper", cached("models/whisper-tiny.en"))
    clip = next(path for path in sorted((ROOT / "examples/data/speech").iterdir()) if path.suffix == ".flac")
    words = pl.DataFrame({"call": [str(clip.relative_to(ROOT)), None]}).mm.transcribe("whisper", "call")
    assert len(words["transcript"][0]["text"]) > 10 and words["transcript"][1] is None


def test_written_texts(session: sm.Session) -> None:
    session.create_model("gpt2", "tests/fixtures/text/gpt2")
    frame = pl.DataFrame({"note": ["The invoice", None, "Which supplier sent this invoice?"]})
    expected = session.sql("SELECT mm_generate('gpt2', note, {max_tokens: 8, stop: ['run']}) AS text FROM frame", frame=frame)
    for given in (frame, frame.lazy()):
        found = given.mm.generate("gpt2", "note", max_tokens=8, stop=["run"]).lazy().collect()
        assert found["text"].to_list() == expected["text"].to_list()
        assert found["text"].null_count() == 1
    drawn = frame.mm.generate("gpt2", pl.col("note"), temperature=1.0, seed=3, max_tokens=8, name="drawn")["drawn"]
    assert drawn.to_list() == frame.mm.generate("gpt2", "note", temperature=1.0, seed=3, max_tokens=8, name="drawn")["drawn"].to_list()
    with pytest.raises(sm.ArgumentError, match="max_token") as refused:
        frame.mm.generate("gpt2", "note", max_token=8)
    assert "max_tokens" in (refused.value.hint or "")


def test_texts_about_pictures(session: sm.Session) -> None:
    session.create_model("llava", "tests/fixtures/vision_language/llava")
    pictures = [f"tests/fixtures/vit_pictures/photo_{name}.png" for name in ("coffee", "rocket")]
    frame = pl.DataFrame({"picture": [*pictures, None], "both": [pictures, pictures[:1], []]})
    one = frame.mm.generate("llava", pl.lit("What is this?"), "picture", max_tokens=6)["text"]
    assert one.null_count() == 1 and one[0] != one[1]
    several = frame.lazy().mm.generate("llava", pl.lit("What is this?"), "both", max_tokens=6).collect()["text"]
    assert several.null_count() == 0 and several[1] == one[0] and several[0] != several[1]
    closed = frame.mm.classify("llava", pl.lit("What is this?"), ["a cat", "a cup"], "picture")["class"].struct.field("label")
    assert closed.null_count() == 1 and set(closed.drop_nulls()) <= {"a cat", "a cup"}
    session.create_model("gpt2", "tests/fixtures/text/gpt2")
    schema = {"type": "object", "properties": {"paid": {"type": "boolean"}}, "required": ["paid"], "additionalProperties": False}
    written = frame.mm.generate("gpt2", pl.lit("Is it paid?"), json_schema=schema, max_tokens=20)["text"]
    assert all(isinstance(json.loads(text)["paid"], bool) for text in written)


def test_drawn_pictures(session: sm.Session, tmp_path: Path) -> None:
    session.create_model("sd", "tests/fixtures/diffusion/model")
    frame = pl.DataFrame({"text": ["a cup", None, "a cat"]})
    drawn = frame.mm.generate_image("sd", "text", steps=2, seed=3)["picture"]
    assert drawn.dtype == pl.Binary and drawn.null_count() == 1 and drawn[0] != drawn[2]
    assert all(picture.startswith(b"\x89PNG") for picture in drawn if picture)
    again = frame.with_columns(pl.Series("start", drawn)).lazy().mm.generate_image("sd", "text", "start", steps=4).collect()["picture"]
    assert again.null_count() == 1 and again[0] != drawn[0]
    session.set(write_roots=[str(tmp_path)])
    files = pl.DataFrame({"picture": drawn}).mm.write("picture", str(tmp_path))["uri"]
    assert files.null_count() == 1 and Path(files[0]).read_bytes() == drawn[0]


def test_sql_over_itself(session: sm.Session) -> None:
    frame = pl.DataFrame({"a": [3.0, 1.0, 2.0]})
    query = "SELECT a, mm_predict('add', a, factor).sum AS p FROM self CROSS JOIN other WHERE a > 1"
    other = pl.DataFrame({"factor": [10.0]})
    assert frame.mm.sql(query, other=other).rows() == [(3.0, 13.0), (2.0, 12.0)]
    assert frame.lazy().mm.sql(query, other=other).sort("a").collect().rows() == [(2.0, 12.0), (3.0, 13.0)]
