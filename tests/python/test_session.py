"""Sessions under threads, signals, forks, the garbage collector and many calls."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import sensorium as sm
from conftest import ROOT, TINY, raised, resident_bytes, texts

# What a machine that is busy with other things may add to a tenth of a second.
SOON = 1.0


def interrupted(act: Callable[[], Any]) -> float:
    """Seconds from Ctrl-C, half a second after the start of `act`, to its exception."""
    sent: list[float] = []

    def send() -> None:
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.5, send)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        act()
    return time.perf_counter() - sent[0]


@pytest.mark.parametrize("act", ["session.scan(query, rows=rows).collect()", "pl.DataFrame(session.stream(query, rows=rows))", "pyarrow.table(session.stream(query, rows=rows))"])
def test_ctrl_c_ends_a_program(tmp_path: Path, cached: Callable[[str], str], act: str) -> None:
    """Other libraries that read meanwhile make errors of their own of the signal, or none; the program ends all the same."""
    script = f"""
        import polars as pl, pyarrow, sensorium as sm
        session = sm.Session(models={str(tmp_path)!r}, progress=False)
        session.create_model("minilm", {cached("models/minilm")!r})
        rows = pl.DataFrame({{"note": [f"note {{n}}" for n in range(100_000)]}})
        query = "SELECT mm_embed('minilm', note) AS v FROM rows"
        session.sql(query, rows=rows.head(2))
        print("begun", flush=True)
        {act}
        print("done")
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None and program.stdout.readline() == "begun\n"
        time.sleep(0.5)
        program.send_signal(signal.SIGINT)
        start = time.perf_counter()
        out, err = program.communicate(timeout=60)
        # The interpreter's own end included.
        assert time.perf_counter() - start < 2 * SOON
    assert program.returncode != 0 and "done" not in out and "KeyboardInterrupt" in err, (program.returncode, out, err)


def test_ctrl_c(minilm: sm.Session) -> None:
    rows = pl.DataFrame({"note": texts(20_000)})
    query = "SELECT mm_embed('minilm', note) AS v FROM rows"
    assert interrupted(lambda: minilm.sql(query, rows=rows)) < SOON
    assert interrupted(lambda: list(minilm.stream(query, rows=rows))) < SOON
    assert interrupted(lambda: minilm.stream(query, rows=rows).to_pyarrow().read_all()) < SOON
    assert interrupted(lambda: rows.mm.embed("minilm", "note", session=minilm)) < SOON
    # The model stops as well: what runs now has the machine for itself.
    time.sleep(0.3)
    before = minilm.model_rows()
    time.sleep(0.3)
    assert minilm.model_rows() == before
    assert minilm.sql("SELECT mm_embed('minilm', note) AS v FROM rows", rows=rows.head(3)).height == 3


def test_the_lock_is_free_meanwhile(minilm: sm.Session) -> None:
    counted = 0
    done = threading.Event()

    def count() -> None:
        nonlocal counted
        while not done.is_set():
            counted += 1

    thread = threading.Thread(target=count)
    thread.start()
    minilm.sql("SELECT mm_embed('minilm', note) AS v FROM rows", rows=pl.DataFrame({"note": texts(300)}))
    done.set()
    thread.join()
    assert counted > 10_000


def test_threads_share_a_session(session: sm.Session) -> None:
    wrong: list[object] = []

    def work(number: int) -> None:
        try:
            for _ in range(10):
                frame = pl.DataFrame({"n": [number] * 500})
                found = session.sql("SELECT mm_predict('add', n, 0).sum AS s FROM rows", rows=frame)["s"].unique().to_list()
                if found != [number]:
                    wrong.append(found)
                with pytest.raises(sm.ArgumentError):
                    session.sql("SELECT mm_predict('add', n) FROM rows", rows=frame)
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_two_sessions(tmp_path: Path) -> None:
    one, other = (sm.Session(models=tmp_path / name, progress=False) for name in ("one", "other"))
    assert sm.current_session() is other
    one.create_model("m", f"{TINY}/add.onnx")
    other.create_model("m", f"{TINY}/affine.onnx")
    assert one.describe("m").rows() != other.describe("m").rows()
    one.set(on_error="null")
    assert other.settings()["mm.on_error"] == "fail"
    frame = pl.DataFrame({"a": [1.0]})
    assert frame.mm.predict("m", "a", "a", session=one)["prediction"].to_list() == [{"sum": 2.0}]


def run(script: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    return subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


def test_fork_after_use(tmp_path: Path) -> None:
    done = run(
        f"""
        import os, sys, sensorium as sm
        session = sm.Session(models={str(tmp_path)!r}, progress=False)
        session.sql("SELECT 1")
        child = os.fork()
        if child == 0:
            for act in (lambda: session.sql("SELECT 1"), lambda: sm.Session(models={str(tmp_path)!r}), lambda: session.set(device="cpu")):
                try:
                    act()
                    os._exit(1)
                except sm.RuntimeUnavailableError as error:
                    if "spawn" not in error.hint:
                        os._exit(2)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert session.sql("SELECT 1 AS one").item() == 1
        sys.exit(status)
        """
    )
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)


def test_fork_before_use(tmp_path: Path) -> None:
    done = run(
        f"""
        import os, sys, sensorium as sm
        child = os.fork()
        if child == 0:
            os._exit(0 if sm.Session(models={str(tmp_path)!r}, progress=False).sql("SELECT 7 AS n").item() == 7 else 1)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """
    )
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)


def test_the_end_of_a_process_in_the_middle_of_a_stream(tmp_path: Path, cached: Callable[[str], str]) -> None:
    done = run(
        f"""
        import polars as pl, sensorium as sm
        session = sm.Session(models={str(tmp_path)!r}, progress=False)
        session.create_model("minilm", {cached("models/minilm")!r})
        rows = pl.LazyFrame({{"note": [f"note {{n}}" for n in range(100_000)]}})
        stream = iter(session.stream("SELECT mm_embed('minilm', note) AS v FROM rows", rows=rows))
        print(next(stream).width)
        """
    )
    assert (done.returncode, done.stdout.strip()) == (0, "1"), (done.stdout, done.stderr)


def test_the_end_of_a_process_while_python_is_read(tmp_path: Path) -> None:
    done = run(
        f"""
        import time, pyarrow as pa, sensorium as sm
        session = sm.Session(models={str(tmp_path)!r}, progress=False)
        schema = pa.schema([("n", pa.int64())])
        def rows():
            for number in range(1000):
                time.sleep(0.05)
                yield pa.RecordBatch.from_pydict({{"n": [number]}}, schema=schema)
        stream = iter(session.stream("SELECT * FROM t", t=pa.RecordBatchReader.from_batches(schema, rows())))
        print(next(stream).height)
        """
    )
    assert (done.returncode, done.stdout.strip()) == (0, "1"), (done.returncode, done.stdout, done.stderr)


def test_beside_onnxruntime_itself(tmp_path: Path) -> None:
    done = run(
        f"""
        import numpy, onnxruntime, polars as pl, sensorium as sm
        other = onnxruntime.InferenceSession("{TINY}/add.onnx")
        session = sm.Session(models={str(tmp_path)!r}, progress=False)
        session.create_model("add", "{TINY}/add.onnx")
        print(session.sql("SELECT mm_predict('add', 1, 2).sum AS s").item(), len(other.get_inputs()))
        """
    )
    assert (done.returncode, done.stdout.strip()) == (0, "3.0 2"), (done.stdout, done.stderr)


def test_a_stream_that_is_forgotten_ends(minilm: sm.Session) -> None:
    rows = pl.DataFrame({"note": texts(30_000)})
    stream = iter(minilm.stream("SELECT mm_embed('minilm', note) AS v FROM rows", rows=rows))
    next(stream)
    del stream
    gc.collect()
    time.sleep(0.3)
    before = minilm.model_rows()
    time.sleep(0.5)
    assert minilm.model_rows() == before


def test_a_stream_outlives_its_session_and_frame(session: sm.Session) -> None:
    frame = pl.DataFrame({"n": range(500_000)})
    stream = session.stream("SELECT n, mm_predict('add', n, 1).sum AS s FROM t", t=frame)
    lazy = session.scan("SELECT n + 1 AS m FROM t", t=frame)
    del session, frame
    gc.collect()
    assert sum(part.height for part in stream) == 500_000
    assert lazy.select(pl.col("m").sum()).collect().item() == 500_000 * 500_001 // 2


def test_many_small_calls(session: sm.Session) -> None:
    frame = pl.DataFrame({"a": [1.0], "b": [2.0]})

    def call(count: int) -> None:
        for number in range(count):
            assert frame.mm.predict("add", pl.col("a") + number, "b", session=session)["prediction"][0]["sum"] == number + 3

    call(200)
    gc.collect()
    before, ran = resident_bytes(), session.model_rows()["add@1"]
    call(800)
    gc.collect()
    grown = resident_bytes() - before
    assert grown < 8_000_000, grown
    # Counted on: the model was not loaded anew.
    assert session.model_rows()["add@1"] > ran


def endless(count: int, seen: list[int]) -> pa.RecordBatchReader:
    """Batches that are made when they are read."""
    schema = pa.schema([("n", pa.int64()), ("text", pa.string())])

    def batches() -> Any:
        text = pa.array(["x" * 1000] * 10_000)
        for start in range(0, count, 10_000):
            seen[0] = start
            yield pa.RecordBatch.from_arrays([pa.array(range(start, start + 10_000)), text], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def test_memory_does_not_grow_with_a_stream(session: sm.Session) -> None:
    seen, peaks = [0], []
    query = "SELECT n, length(text) AS l, mm_predict('add', n, 1).sum AS s FROM t"
    for part in session.stream(query, t=endless(300_000, seen)):
        del part
    before = resident_bytes()
    for part in session.stream(query, t=endless(2_000_000, seen)):
        peaks.append(resident_bytes())
        del part
    # Two gigabytes have passed.
    assert max(peaks) - before < 150_000_000, max(peaks) - before


def test_a_stream_that_is_closed_elsewhere(session: sm.Session) -> None:
    schema = pa.schema([("n", pa.int64())])

    def slow() -> Any:
        for number in range(10_000):
            time.sleep(0.02)
            yield pa.RecordBatch.from_pydict({"n": [number]}, schema=schema)

    stream = session.stream("SELECT n FROM t", t=pa.RecordBatchReader.from_batches(schema, slow()))
    threading.Timer(0.3, stream.close).start()
    error = raised(sm.SensoriumError, lambda: list(stream))
    assert error.code in ("cancelled", "argument") and "closed" in str(error)
    with session.stream("SELECT n FROM t", t=pa.RecordBatchReader.from_batches(schema, slow())) as other:
        reader = other.to_pyarrow()
        reader.read_next_batch()
    assert "closed" in str(raised(sm.SensoriumError, reader.read_all))


def test_a_stream_that_is_closed_stops_its_source(session: sm.Session) -> None:
    seen = [0]
    with session.stream("SELECT n, text FROM t", t=endless(5_000_000, seen)) as stream:
        next(iter(stream))
    time.sleep(0.2)
    stopped = seen[0]
    time.sleep(0.3)
    assert seen[0] == stopped < 1_000_000


def test_rows_that_fail(session: sm.Session, tmp_path: Path, cached: Callable[[str], str]) -> None:
    session.create_model("effnet", cached("models/efficientnet-lite0"))
    pictures = pl.DataFrame({"photo": [b"no picture", None]})
    error = raised(sm.MediaError, lambda: session.sql("SELECT mm_predict('effnet', photo) AS p FROM t", t=pictures))
    assert (error.code, error.rows[0]["row"], error.rows[0]["step"]) == ("media", 0, "decode")
    session.set(on_error="null")
    assert session.sql("SELECT mm_predict('effnet', photo) AS p FROM t", t=pictures)["p"].null_count() == 2
    assert session.errors()["code"].to_list() == ["media"]
    elsewhere = pl.DataFrame({"photo": ["/etc/hostname"]})
    session.set(on_error="fail")
    error = raised(sm.ForbiddenError, lambda: session.sql("SELECT mm_predict('effnet', photo) FROM t", t=elsewhere))
    assert error.rows[0]["uri"] == "/etc/hostname" and "allowed_roots" in error.hint


@pytest.mark.parametrize(
    ("statement", "kind", "code"),
    [
        ("SELECT mm_predict('ad', 1, 2)", sm.CatalogError, "catalog"),
        ("SELECT mm_predict('add', 1)", sm.ArgumentError, "argument"),
        ("SELEC 1", sm.SqlError, "sql"),
        ("SELECT * FROM nowhere", sm.SqlError, "sql"),
        ("SET mm.devise = 'cpu'", sm.SettingError, "setting"),
        ("SET mm.batch_rows = -1", sm.SettingError, "setting"),
        ("CREATE MODEL x FROM 'nowhere'", sm.SensoriumError, None),
        ("SELECT 1 / 0", sm.SensoriumError, None),
    ],
)
def test_errors(session: sm.Session, statement: str, kind: type[sm.SensoriumError], code: str | None) -> None:
    error = raised(kind, lambda: session.sql(statement))
    assert code is None or error.code == code
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.hint, again.rows) == (type(error), str(error), error.hint, error.rows)


def test_options(session: sm.Session) -> None:
    frame = pl.DataFrame({"x": [float(number) for number in range(200)], "y": ["a", "b"] * 100})
    session.create_model("m", frame, label="y", head="linear", seed=np.int64(3))
    raised(sm.ArgumentError, lambda: session.create_model("m", frame, replace=True, label="y", seed=float("nan")))
    raised(sm.ArgumentError, lambda: session.create_model("m", frame, replace=True, **{"label = 'y') --": 1}))
    raised(sm.ArgumentError, lambda: session.create_model("m", frame, replace=True))


def test_settings(session: sm.Session, tmp_path: Path) -> None:
    session.set(batch_rows=7, gpu_tf32=True, allowed_roots=["/a", "/b"])
    settings = session.settings()
    assert [settings[f"mm.{name}"] for name in ("batch_rows", "gpu_tf32", "allowed_roots")] == ["7", "true", "/a,/b"]
    raised(sm.SettingError, lambda: session.set(devise="cpu"))
    raised(sm.SettingError, lambda: sm.Session(models=tmp_path / "unused", device="abacus"))


def test_progress(minilm: sm.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[list[str]] = []
    closed: list[bool] = []

    class Bar:
        def show(self, lines: list[str]) -> None:
            shown.append(lines)

        def close(self) -> None:
            closed.append(True)

    monkeypatch.setattr("sensorium._session.Bar", Bar)
    session = sm.Session(models=tmp_path / "models", progress=True, cache_bytes=0)
    session.sql("SELECT 1")
    assert not shown
    rows = pl.DataFrame({"note": texts(600)})
    session.sql("SELECT mm_embed('minilm', note) AS v FROM rows", rows=rows)
    assert any("minilm@1: " in line and "rows" in line for lines in shown for line in lines), shown
    assert closed == [True]


def test_a_bar_in_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from sensorium._progress import Bar

    bar = Bar()
    bar.show(["minilm@1: 10 rows, 5/s"])
    bar.close()
    assert "minilm@1: 10 rows, 5/s" in capsys.readouterr().err
