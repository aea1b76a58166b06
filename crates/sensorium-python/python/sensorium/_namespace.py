"""``df.mm`` and ``lf.mm``: models on the columns of a Polars frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from sensorium import _session
from sensorium._errors import ArgumentError
from sensorium._sql import identifier, struct, text

class _Call:
    """A function of the engine with its inputs, which Polars computes first as columns with names that the frame does not have."""

    def __init__(
        self,
        function: str,
        model: str | None,
        inputs: Sequence[Any] | Mapping[str, Any] | None,
        in_order: Sequence[Any],
        by_name: Mapping[str, Any],
        rest: Sequence[str] = (),
    ) -> None:
        given = [values for values in (inputs, in_order, by_name) if values]
        if len(given) > 1:
            raise ArgumentError(f"{function}: inputs in order and inputs by name", hint="one or the other, or inputs={..}")
        self._function, self._model, self._rest = function, model, rest
        self._inputs = given[0] if given else ()
        values = self._inputs.values() if isinstance(self._inputs, Mapping) else self._inputs
        self._values = [_expression(value) for value in values]
        for value in self._values:
            if value.meta.has_multiple_outputs():
                raise ArgumentError(f"{function}: one input is several columns: {value}", hint="an expression for each input")

    def columns(self, taken: Sequence[str]) -> tuple[list[pl.Expr], list[str], str]:
        """The inputs as expressions beside the columns `taken`, their names, and the call in SQL."""
        mark = "__mm_input_"
        while any(name.startswith(mark) for name in taken):
            mark += "_"
        names = [f"{mark}{place}" for place in range(len(self._values))]
        arguments = [identifier(name) for name in names]
        if isinstance(self._inputs, Mapping):
            pairs = ", ".join(f"{text(name)}, {argument}" for name, argument in zip(self._inputs, arguments))
            arguments = [f"named_struct({pairs})"]
        first = [] if self._model is None else [text(self._model)]
        sql = f"{self._function}({', '.join([*first, *(arguments or ['self.*']), *self._rest])})"
        return [value.alias(name) for value, name in zip(self._values, names)], names, sql


def _expression(value: Any) -> pl.Expr:
    """As Polars itself reads arguments: texts are names of columns."""
    if isinstance(value, pl.Expr):
        return value
    return pl.col(value) if isinstance(value, str) else pl.lit(value)


class _Functions:
    """What both kinds of frames have; `_run` adds the column."""

    def _run(self, call: _Call, name: str, session: _session.Session | None) -> Any:
        raise NotImplementedError

    def predict(
        self,
        model: str,
        /,
        *in_order: Any,
        inputs: Sequence[Any] | Mapping[str, Any] | None = None,
        name: str = "prediction",
        session: _session.Session | None = None,
        **by_name: Any,
    ) -> Any:
        """Adds what a model predicts, as ``mm_predict`` gives it.

        Args:
            model: ``"credit"``, ``"credit@3"`` or ``"credit@champion"``.
            *in_order: Columns or expressions in the order of the model's inputs. Without any, the columns whose names are inputs.
            inputs: The same as a list, or as a dict by the names of inputs, whatever these are.
            name: Of the new column.
            session: The one that was opened last without it.
            **by_name: Columns or expressions by the names of inputs.
        """
        return self._run(_Call("mm_predict", model, inputs, in_order, by_name), name, session)

    def embed(
        self,
        model: str,
        /,
        *in_order: Any,
        inputs: Sequence[Any] | Mapping[str, Any] | None = None,
        name: str = "embedding",
        session: _session.Session | None = None,
        **by_name: Any,
    ) -> Any:
        """Adds vectors, as ``mm_embed`` gives them: ``Array(Float32, d)``; ``image=`` or ``text=`` for a model of both."""
        return self._run(_Call("mm_embed", model, inputs, in_order, by_name), name, session)

    def similarity(
        self, one: Any, other: Any, /, *, model: str | None = None, name: str = "similarity", session: _session.Session | None = None
    ) -> Any:
        """Adds the cosine of two vectors, or of a picture and a text by the vectors of ``model``."""
        return self._run(_Call("mm_similarity", model, None, [one, other], {}), name, session)

    def classify(
        self, model: str, input: Any, labels: Sequence[str], /, *media: Any, name: str = "class", session: _session.Session | None = None
    ) -> Any:
        """Adds which of the labels fits best, without training, as ``mm_classify`` gives it; ``media`` are those that a generative model
        is asked about."""
        listed = "[" + ", ".join(text(label) for label in labels) + "]"
        return self._run(_Call("mm_classify", model, None, [input, *media], {}, [listed]), name, session)

    def transcribe(self, model: str, input: Any, /, *, name: str = "transcript", session: _session.Session | None = None) -> Any:
        """Adds what is said in sounds, as ``mm_transcribe`` gives it: ``{text, segments, language}``."""
        return self._run(_Call("mm_transcribe", model, None, [input], {}), name, session)

    def generate(
        self, model: str, prompt: Any, /, *media: Any, name: str = "text", session: _session.Session | None = None, **options: Any
    ) -> Any:
        """Adds texts that a generative model writes, as ``mm_generate`` gives them; ``max_tokens=64, temperature=0.7, seed=1, ..``.

        ``media`` are columns of pictures, then of sounds, then of videos, as the model is asked about them: URIs, bytes or lists of these.
        ``json_schema`` is a dict, or its text.
        """
        return self._run(_Call("mm_generate", model, None, [prompt, *media], {}, [struct(options)] if options else []), name, session)

    def generate_image(
        self, model: str, prompt: Any, /, *init_image: Any, name: str = "picture", session: _session.Session | None = None, **options: Any
    ) -> Any:
        """Adds pictures that a diffusion model draws, as ``mm_generate_image`` gives them: the bytes of a PNG.

        ``steps=20, seed=7, guidance=7.5, width=512, negative_prompt="..", ..``; ``init_image`` is a column of pictures to begin with.
        """
        extra = [struct(options)] if options else []
        return self._run(_Call("mm_generate_image", model, None, [prompt, *init_image], {}, extra), name, session)

    def write(self, media: Any, prefix: str, /, *, name: str = "uri", session: _session.Session | None = None) -> Any:
        """Adds where media were written as files, under a folder or URL, as ``mm_write`` does it."""
        return self._run(_Call("mm_write", None, None, [media], {}, [text(prefix)]), name, session)

    def ocr(self, model: str, input: Any, /, *, name: str = "lines", session: _session.Session | None = None) -> Any:
        """Adds the lines of text in pictures and documents, as ``mm_ocr`` gives them."""
        return self._run(_Call("mm_ocr", model, None, [input], {}), name, session)

    def explain(
        self,
        model: str,
        /,
        *in_order: Any,
        inputs: Sequence[Any] | Mapping[str, Any] | None = None,
        name: str = "explanation",
        session: _session.Session | None = None,
        **by_name: Any,
    ) -> Any:
        """Adds what each input contributes to the prediction, as ``mm_explain`` gives it."""
        return self._run(_Call("mm_explain", model, inputs, in_order, by_name), name, session)

    def reasons(
        self,
        model: str,
        /,
        *in_order: Any,
        inputs: Sequence[Any] | Mapping[str, Any] | None = None,
        k: int = 3,
        name: str = "reasons",
        session: _session.Session | None = None,
        **by_name: Any,
    ) -> Any:
        """Adds the ``k`` strongest reasons for the prediction, as ``mm_reasons`` gives them."""
        return self._run(_Call("mm_reasons", model, inputs, in_order, by_name, [str(int(k))]), name, session)


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
        expressions, names, sql = call.columns(frame.columns)
        if names:
            # As many rows as the frame has, also where all inputs are literals.
            frame = frame.with_columns(expressions)[names].head(frame.height)
        column = (session or _session.current_session())._run_own(f"SELECT {sql} AS result FROM self", self=frame)["result"]
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
        taken = self._frame.collect_schema().names()
        expressions, _, sql = call.columns([*taken, name])
        # Where a column of this name is, its successor goes, as with `with_columns`.
        listed = [f"{sql} AS {identifier(name)}" if column == name else identifier(column) for column in dict.fromkeys([*taken, name])]
        frame = self._frame.with_columns(expressions)
        return (session or _session.current_session())._scan_own(f"SELECT {', '.join(listed)} FROM self", self=frame)
