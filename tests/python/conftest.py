"""What tests share: sessions over fresh folders of models, in the root of the checkout."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import sensorium as sm

ROOT = Path(__file__).resolve().parents[2]
TINY = "tests/fixtures/tiny"


@pytest.fixture(autouse=True)
def in_the_root() -> Iterator[None]:
    """Paths of packages and media are relative to the checkout."""
    before = Path.cwd()
    os.chdir(ROOT)
    yield
    os.chdir(before)


@pytest.fixture
def session(tmp_path: Path) -> sm.Session:
    """A session whose only model, `add`, gives {sum: a + b}."""
    own = sm.Session(models=tmp_path / "models", progress=False)
    own.create_model("add", f"{TINY}/add.onnx")
    return own


@pytest.fixture(scope="session")
def cached() -> Callable[[str], str]:
    """A path below the folder that `sensorium setup` fills."""
    places = [os.environ.get("SENSORIUM_CACHE"), os.environ.get("XDG_CACHE_HOME") and os.environ["XDG_CACHE_HOME"] + "/sensorium"]
    folder = next((place for place in places if place), str(Path.home() / ".cache/sensorium"))
    return lambda path: f"{folder}/{path}"


@pytest.fixture
def minilm(tmp_path: Path, cached: Callable[[str], str]) -> sm.Session:
    """A session with a real text encoder, which takes milliseconds a row."""
    own = sm.Session(models=tmp_path / "models", progress=False, cache_bytes=0)
    own.create_model("minilm", cached("models/minilm"))
    return own


def texts(count: int) -> list[str]:
    """Different texts."""
    return [f"note {number}: the borrower has paid {number * 37 % 101} of {number * 61 % 997} instalments in time" for number in range(count)]


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def raised(kind: type[Any] | tuple[type[Any], ...], act: Callable[[], Any]) -> Any:
    """The exception of `act`, which must be of the class `kind`, or one of these."""
    with pytest.raises(kind) as caught:
        act()
    return caught.value
