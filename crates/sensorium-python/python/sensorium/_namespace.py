"""``df.mm`` and ``lf.mm``: models on the columns of a Polars frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from sensorium import _session
from sensorium._errors import ArgumentError
from sensorium._sql import identifier, text

# Columns that hold inputs; names that a user's frame is not likely to have.
_INPUT = "__mm_input_{}"


class _Call:
    """A function of the engine with its inputs, which Polars computes first."""

    def __init__(self, function: str, model: str | None, inputs: Sequence[Any], named: dict[str, Any], rest: Sequence[str] = ()) -> None:
        if inputs and named:
            raise ArgumentError(f"{function}: inputs in order and inputs by name", hint="one or the other")
        values = [*inputs, *named.values()]
        self.inputs = [_expression(value).alias(_INPUT.format(place)) for place, value in enumerate(values)]
        places = [identifier(_INPUT.format(place)) for place in range(len(values))]
        if named:
            pairs = ", ".join(f"{text(name)}, {place}" for name, place in zip(named, places))
            places = [f"named_struct({pairs})"]
        first = [] if model is None else [text(model)]
        self.sql = f"{function}({', '.join([*first, *(places or ['self.*']), *rest])})"


def _expression(value: Any) -> pl.Expr:
    """As Polars itself reads arguments: texts are names of columns."""
    if isinstance(value, pl.Expr):
        return value
    return pl.col(value) if isinstance(value, str) else pl.lit(value)


class _Functions:
    """What both kinds of frames have; `_run` adds the column."""

    def _run(self, call: _Call, name: str, session: _session.Session | None) -> Any:
        raise NotImplementedError

    def predict(self, model: str, *inputs: Any, name: str = "prediction", session: _session.Session | None = None, **named: Any) -> Any:
        """Adds what a model predicts, as ``mm_predict`` gives it.

        Args:
            model: ``"credit"``, ``"credit@3"`` or ``"credit@champion"``.
            *inputs: Columns or expressions in the order of the model's inputs. Without any, the columns whose names are inputs.
            name: Of the new column.
            session: The one that was opened last without it.
            **named: Columns or expressions by the names of inputs.
        """
        return self._run(_Call("mm_predict", model, inputs, named), name, session)

    def embed(self, model: str, *inputs: Any, name: str = "embedding", session: _session.Session | None = None, **named: Any) -> Any:
        """Adds vectors, as ``mm_embed`` gives them: ``Array(Float32, d)``; ``image=`` or ``text=`` for a model of both."""
        return self._run(_Call("mm_embed", model, inputs, named), name, session)

    def similarity(self, *inputs: Any, model: str | None = None, name: str = "similarity", session: _session.Session | None = None) -> Any:
        """Adds the cosine of two vectors, or of a picture and a text by the vectors of ``model``."""
        return self._run(_Call("mm_similarity", model, inputs, {}), name, session)

    def classify(
        self, model: str, input: Any, labels: Sequence[str], *, name: str = "class", session: _session.Session | None = None
    ) -> Any:
        """Adds which of the labels fits best, without training, as ``mm_classify`` gives it."""
        listed = "[" + ", ".join(text(label) for label in labels) + "]"
        return self._run(_Call("mm_classify", model, [input], {}, [listed]), name, session)

    def transcribe(self, model: str, input: Any, *, name: str = "transcript", session: _session.Session | None = None) -> Any:
        """Adds what is said in sounds, as ``mm_transcribe`` gives it: ``{text, segments, language}``."""
        return self._run(_Call("mm_transcribe", model, [input], {}), name, session)

    def ocr(self, model: str, input: Any, *, name: str = "lines", session: _session.Session | None = None) -> Any:
        """Adds the lines of text in pictures and documents, as ``mm_ocr`` gives them."""
        return self._run(_Call("mm_ocr", model, [input], {}), name, session)

    def explain(self, model: str, *inputs: Any, name: str = "explanation", session: _session.Session | None = None, **named: Any) -> Any:
        """Adds what each input contributes to the prediction, as ``mm_explain`` gives it."""
        return self._run(_Call("mm_explain", model, inputs, named), name, session)

    def reasons(
        self, model: str, *inputs: Any, k: int = 3, name: str = "reasons", session: _session.Session | None = None, **named: Any
    ) -> Any:
        """Adds the ``k`` strongest reasons for the prediction, as ``mm_reasons`` gives them."""
        return self._run(_Call("mm_reasons", model, inputs, named, [str(int(k))]), name, session)


@pl.api.register_dataframe_namespace("mm")
class DataFrameModels(_Functions):
    """Models on the columns of a data frame; rows keep their order, and columns that are there are not copied.

    >>> import polars as pl
    >>> frame = pl.DataFrame({"a": [1.0, None, 3.0], "b": [10.0, 20.0, 30.0]})
    >>> frame.mm.predict("add", "a", pl.col("b") * 2, name="p")["p"].to_list()
    [{'sum': 21.0}, None, {'sum': 63.0}]
    >>> frame.mm.sql("SELECT b FROM self WHERE a > 2").item()
    30.0
    """

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def sql(self, query: str, /, *, session: _session.Session | None = None, **frames: Any) -> pl.DataFrame:
        """Runs a query in which the frame is called ``self``."""
        return (session or _session.current_session()).sql(query, self=self._frame, **frames)

    def _run(self, call: _Call, name: str, session: _session.Session | None) -> pl.DataFrame:
        frame = self._frame
        if call.inputs:
            # One row for each of the frame's, also where all inputs are literals.
            frame = frame.with_columns(call.inputs).select(pl.col(f"^{_INPUT.format('.*')}$"))
        column = (session or _session.current_session()).sql(f"SELECT {call.sql} AS result FROM self", self=frame)["result"]
        if len(column) != self._frame.height:
            raise AssertionError(f"{len(column)} results for {self._frame.height} rows")
        return self._frame.with_columns(column.alias(name))


@pl.api.register_lazyframe_namespace("mm")
class LazyFrameModels(_Functions):
    """Models on the columns of a lazy frame, which is read batch by batch, and only as far as its query needs.

    >>> import polars as pl
    >>> frame = pl.LazyFrame({"a": [1.0, 2.0, 3.0]})
    >>> frame.mm.predict("add", a="a", b=1).filter(pl.col("a") > 1).collect()["prediction"].to_list()
    [{'sum': 3.0}, {'sum': 4.0}]
    """

    def __init__(self, frame: pl.LazyFrame) -> None:
        self._frame = frame

    def sql(self, query: str, /, *, session: _session.Session | None = None, **frames: Any) -> pl.LazyFrame:
        """A query in which the frame is called ``self``, as a lazy frame."""
        return (session or _session.current_session()).scan(query, self=self._frame, **frames)

    def _run(self, call: _Call, name: str, session: _session.Session | None) -> pl.LazyFrame:
        kept = [identifier(column) for column in self._frame.collect_schema().names() if column != name]
        listed = ", ".join([*kept, f"{call.sql} AS {identifier(name)}"])
        frame = self._frame.with_columns(call.inputs)
        return (session or _session.current_session()).scan(f"SELECT {listed} FROM self", self=frame)
