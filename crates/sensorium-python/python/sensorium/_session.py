"""Sessions: models, settings and queries over frames."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from sensorium import _native
from sensorium._display import Evaluation, Explanations, ModelList
from sensorium._errors import ArgumentError
from sensorium._frames import describe_all, to_polars
from sensorium._progress import Bar, is_watched
from sensorium._scan import scan_plan
from sensorium._sql import identifier, options, setting, text

# The session that was opened last.
_current: Session | None = None


class Session:
    """A folder of models, settings, and queries over frames.

    All threads may use one session at once; while a query runs, the interpreter's lock is free, and Ctrl-C ends it. Sessions of one
    process share the models that they have loaded.

    Args:
        models: Folder or URL of the models; ``$SENSORIUM_MODELS`` or ``models`` without it.
        progress: Whether long queries show how far they are; in terminals and notebooks without it.
        **settings: ``device = "cpu"`` is ``SET mm.device = 'cpu'``; lists become texts with commas.

    Raises:
        SettingError: For a setting that does not exist or a value that makes no sense.

    >>> s = Session(models=folder, device="cpu", on_error="null", progress=False)
    >>> s.sql("SELECT 1 AS one, 'a' AS letter").row(0)
    (1, 'a')
    """

    def __init__(self, models: str | os.PathLike[str] | None = None, *, progress: bool | None = None, **settings: Any) -> None:
        global _current
        place = os.fspath(models) if models is not None else os.environ.get("SENSORIUM_MODELS", "models")
        bar = Bar if (is_watched() if progress is None else progress) else None
        self._native = _native.Session(place, [setting(name, value) for name, value in settings.items()], bar)
        _current = self

    def __repr__(self) -> str:
        return f"Session(models={self._native.models!r})"

    def sql(self, query: str, /, **frames: Any) -> pl.DataFrame:
        """Runs one statement and returns its rows.

        Each keyword is a table: a frame of Polars (lazy ones are read in batches), pandas or pyarrow, or anything with
        ``__arrow_c_stream__``. Rows keep their order where no join, aggregate or sort decides otherwise.

        Raises:
            SensoriumError: The class that fits, with ``code``, ``hint`` and ``rows``.

        >>> loans = pl.DataFrame({"id": [3, 1, 2], "amount": [10.0, None, 30.0]})
        >>> s.sql("SELECT id, amount * 2 AS twice FROM loans WHERE amount IS NOT NULL", loans=loans).rows()
        [(3, 20.0), (2, 60.0)]
        """
        return to_polars(self._native.statement(query, describe_all(frames)).collect())

    def stream(self, query: str, /, **frames: Any) -> Rows:
        """Runs a query and gives its rows as they come; frames are as in `sql`.

        >>> sum(frame.height for frame in s.stream("SELECT * FROM t", t=pl.DataFrame({"a": range(1000)})))
        1000
        """
        return Rows(self._native.query(query, describe_all(frames)).read())

    def scan(self, query: str, /, **frames: Any) -> pl.LazyFrame:
        """A query as a lazy frame, which runs when it is collected, as often as it is.

        The engine is asked for those columns, rows and first rows only that the rest of the lazy query needs, so that a model runs on
        no more rows. The versions of models are those of now.

        >>> lazy = s.scan("SELECT a, a * 2 AS b FROM t", t=pl.DataFrame({"a": range(1000)}))
        >>> lazy.filter(pl.col("a") > 997).select("b").collect()["b"].to_list()
        [1996, 1998]
        """
        return scan_plan(self._native.query(query, describe_all(frames)))

    def create_model(
        self, name: str, source: Any, *, replace: bool = False, if_not_exists: bool = False, **model_options: Any
    ) -> None:
        """Creates a version of a model from a package, or fits one to the rows of a frame.

        Args:
            name: Its name.
            source: A path or URL of a package, or a frame to learn from.
            replace: Whether the model may be there already: it gets a new version.
            if_not_exists: Whether nothing happens if it is there.
            **model_options: Those of ``CREATE MODEL .. OPTIONS``; a frame needs ``label``, the column to predict.

        >>> s.create_model("add", "tests/fixtures/tiny/add.onnx", if_not_exists=True)
        """
        mode = "CREATE OR REPLACE MODEL" if replace else "CREATE MODEL IF NOT EXISTS" if if_not_exists else "CREATE MODEL"
        if isinstance(source, (str, os.PathLike)):
            self.sql(f"{mode} {identifier(name)} FROM {text(os.fspath(source))}{options(model_options)}")
            return
        if not model_options:
            raise ArgumentError(f"{name}: what is to be learnt?", hint="label = 'column'")
        self.sql(f"{mode} {identifier(name)}{options(model_options)} AS SELECT * FROM rows", rows=source)

    def drop_model(self, name: str, *, if_exists: bool = False) -> None:
        """Takes a model with all its versions out of the folder."""
        self.sql(f"DROP MODEL {'IF EXISTS ' if if_exists else ''}{identifier(name)}")

    def models(self) -> ModelList:
        """The models of the folder."""
        return ModelList(self.sql("SELECT * FROM mm_models() ORDER BY name"), self.model_rows())

    def describe(self, model: str) -> pl.DataFrame:
        """What a model takes and gives, and where it comes from."""
        return self.sql(f"DESCRIBE MODEL {text(model)}")

    def evaluate(self, model: str, rows: Any, *, to: str | os.PathLike[str] | None = None, **evaluation_options: Any) -> Evaluation:
        """Judges a model by rows with labels, and writes a page with curves and figures.

        Args:
            model: Its name, ``"credit@3"`` or ``"credit@champion"``.
            rows: A frame, or a query.
            to: Folder of the page, ``MODEL-evaluation`` in the current one without it.
            **evaluation_options: ``label``, ``class_``, ``weight``, ``sample`` as in ``EVALUATE MODEL .. OPTIONS``.
        """
        named = {name.rstrip("_"): value for name, value in evaluation_options.items()}
        folder = Path(f"{model.replace('@', '-')}-evaluation" if to is None else to)
        query, frames = (rows, {}) if isinstance(rows, str) else ("SELECT * FROM rows", {"rows": rows})
        figures = self.sql(f"EVALUATE MODEL {text(model)} TO {text(str(folder))}{options(named)} AS {query}", **frames)
        return Evaluation(figures, folder / "report.html")

    def explain(self, model: str, rows: Any) -> Explanations:
        """Shapley values of a model for each row of a frame, whose columns are matched to the model's inputs by name."""
        query = f"SELECT mm_explain({text(model)}, rows.*) AS explanation FROM rows"
        return Explanations(self._run_own(query, rows=rows)["explanation"])

    def _run_own(self, query: str, /, **frames: Any) -> pl.DataFrame:
        """A query that the package has written: as `sql`, but in DataFusion's own dialect whatever the session's is."""
        return to_polars(self._native.query(query, describe_all(frames), True).collect())

    def _scan_own(self, query: str, /, **frames: Any) -> pl.LazyFrame:
        """The same as `scan`."""
        return scan_plan(self._native.query(query, describe_all(frames), True))

    def errors(self) -> pl.DataFrame:
        """The rows that became NULL because they failed while ``on_error`` was ``'null'``."""
        return self.sql("SELECT * FROM mm_errors()")

    def model_rows(self) -> dict[str, int]:
        """How many rows each model has been run on since it was loaded; rows whose results were kept do not count.

        >>> rows = s.sql("SELECT mm_predict('add', a, 1) FROM t", t=pl.DataFrame({"a": [1.5, 2.5, 3.5]}))
        >>> "add@1" in s.model_rows()
        True
        """
        return dict(self._native.model_rows())

    def register(self, name: str, path: str | os.PathLike[str]) -> None:
        """Makes a file, folder or glob of Parquet, CSV or JSON a table of the session."""
        self._native.register(name, os.fspath(path))

    def set(self, **settings: Any) -> None:
        """Changes settings, as ``SET mm.name = value``.

        >>> s.set(batch_rows=64, allowed_roots=["/data/photos"])
        >>> s.settings()["mm.batch_rows"]
        '64'
        """
        for name, value in settings.items():
            self._native.set(*setting(name, value))

    def settings(self) -> dict[str, str | None]:
        """All settings with their values."""
        return {name: value for name, value, _ in self._native.settings()}


class Rows:
    """Rows of a query as they come; a query that nobody reads from any more ends.

    Iterate over it for Polars frames, or hand it to anything that reads ``__arrow_c_stream__``. It can be read once.
    """

    def __init__(self, reader: _native.Reader) -> None:
        self._reader = reader

    def __arrow_c_schema__(self) -> object:
        return self._reader.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._reader.__arrow_c_stream__(requested_schema)

    def __iter__(self) -> Iterator[pl.DataFrame]:
        for batch in self._reader:
            yield to_polars(batch)

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the query."""
        self._reader.close()

    def to_pyarrow(self) -> Any:
        """The rows as a ``pyarrow.RecordBatchReader``, whose errors are those of `sensorium`."""
        pyarrow: Any = importlib.import_module("pyarrow")
        # Over the C data interface alone, an error would be a text, and Ctrl-C as well.
        batches = (part for batch in self._reader for part in pyarrow.table(batch).to_batches())
        return pyarrow.RecordBatchReader.from_batches(pyarrow.schema(self), batches)


def current_session() -> Session:
    """The session that was opened last, or a new one over ``$SENSORIUM_MODELS`` or ``models``."""
    return Session() if _current is None else _current


def models() -> ModelList:
    """The models of the current session."""
    return current_session().models()


def evaluate(model: str, rows: Any, *, to: str | os.PathLike[str] | None = None, **evaluation_options: Any) -> Evaluation:
    """`Session.evaluate` of the current session."""
    return current_session().evaluate(model, rows, to=to, **evaluation_options)


