"""Docstrings are run, types are checked, and the examples work."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import sensorium as sm
from conftest import ROOT

MODULES = ["sensorium", *(f"sensorium.{module.name}" for module in pkgutil.iter_modules(sm.__path__) if module.name != "_native")]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(session: sm.Session, tmp_path: Path, name: str) -> None:
    module = importlib.import_module(name)
    failed, tried = doctest.testmod(module, extraglobs={"s": session, "folder": tmp_path / "fresh", "pl": pl, "sm": sm, "Session": sm.Session})
    assert failed == 0
    assert tried > 0 or name not in ("sensorium", "sensorium._session", "sensorium._namespace", "sensorium._sql")


def test_public_names_are_described() -> None:
    for name in sm.__all__:
        described = getattr(sm, name)
        assert described.__doc__, name
        for member, value in vars(described).items() if isinstance(described, type) else ():
            assert member.startswith("_") or not callable(value) or value.__doc__, f"{name}.{member}"


def test_types(tmp_path: Path) -> None:
    # Apart from what is installed beside it, which mypy would read as parts of the same program.
    sources = shutil.copytree(Path(sm.__file__).parent, tmp_path / "sensorium", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", os.devnull, str(sources)]
    environment = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_stubs_name_what_is_there() -> None:
    from sensorium import _native

    stubs = (ROOT / "crates/sensorium-python/python/sensorium/_native.pyi").read_text()
    for name, member in vars(_native).items():
        if name.startswith("__"):
            continue
        assert f"class {name}:" in stubs or f"def {name}(" in stubs, name
        for method in vars(member) if isinstance(member, type) else ():
            assert method.startswith("__") or f"def {method}(" in stubs, f"{name}.{method}"


def test_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = (ROOT / "README.md").read_text().split("```python\n")[1:]
    assert len(blocks) == 1
    monkeypatch.setenv("SENSORIUM_MODELS", str(tmp_path / "models"))
    values: dict[str, object] = {}
    exec(blocks[0].split("```")[0], values)  # noqa: S102 - the README's own words
    assert [values[name].shape for name in ("riskiest", "scored", "few")] == [(5, 15), (4454, 15), (10, 15)]


@pytest.mark.parametrize("example", sorted(path.name for path in (ROOT / "examples/python").glob("*.py")))
def test_examples(example: str, tmp_path: Path) -> None:
    environment = {**os.environ, "SENSORIUM_MODELS": str(tmp_path / "models")}
    done = subprocess.run([sys.executable, f"examples/python/{example}"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
