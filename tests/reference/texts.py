"""`minilm_texts.parquet`: 1,000 texts and their MiniLM sentence embeddings.

Texts: the translations and docstrings of Django (BSD-3-Clause, PyPI `Django`), and `edge_texts.py`.
Columns: `id` int64, `text` utf8, `embedding` float16[384] (L2 norm 1; float16 rounds to about 3e-5).
"""

import ast
import random
import re
from pathlib import Path

import django
import numpy as np
import pyarrow as pa

from columns import write, fixed_list
from edge_texts import EDGE_TEXTS
from encoders import TextEncoder
from places import FIXTURES, models_folder

ROWS = 1000
PER_LANGUAGE = 8
LONG_DOCSTRINGS = 50
DJANGO = Path(django.__file__).parent
QUOTED = re.compile(r'^(?:msgstr(?:\[\d\])? )?(".*")$')


def translations(catalog: Path) -> list[str]:
    """Every non-empty `msgstr` of a gettext `.po` file but its header."""
    found, current = [], None
    for line in catalog.read_text("utf-8").splitlines() + [""]:
        if line.startswith("msgstr"):
            if current:
                found.append(current)
            current = ""
        match = QUOTED.match(line)
        if current is not None and match:
            current += ast.literal_eval(match.group(1))
        elif current is not None:
            found.append(current)
            current = None
    return [text for text in found if text and "Content-Type:" not in text]


def language_texts(rng: random.Random) -> list[str]:
    """A few texts of every language: the longest two, the others at random."""
    languages: dict[str, set[str]] = {}
    for catalog in DJANGO.rglob("*.po"):
        languages.setdefault(catalog.parts[-3], set()).update(translations(catalog))
    chosen = []
    for _, texts in sorted(languages.items()):
        ordered = sorted(texts, key=lambda text: (-len(text), text))
        rest = ordered[2:]
        chosen += ordered[:2] + rng.sample(rest, min(PER_LANGUAGE - 2, len(rest)))
    return chosen


def docstrings() -> list[str]:
    """Every docstring of Django's modules, classes and functions, indentation cleaned."""
    found = set()
    for source in DJANGO.rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                found.add(ast.get_docstring(node) or "")
    return sorted(found - {""}, key=lambda text: (-len(text), text))


def all_texts() -> list[str]:
    """Exactly `ROWS` different texts in a fixed order."""
    rng = random.Random(0)
    documents = docstrings()
    texts = EDGE_TEXTS + language_texts(rng) + documents[:LONG_DOCSTRINGS]
    rest = documents[LONG_DOCSTRINGS:]
    texts += rng.sample(rest, len(rest))
    return list(dict.fromkeys(texts))[:ROWS]


def main() -> None:
    encoder = TextEncoder(models_folder(__doc__) / "minilm")
    texts = all_texts()
    lengths = np.array([len(encoder.tokens(text)) for text in texts])
    print(f"{len(texts)} texts, {(lengths == 256).sum()} at the limit, median {np.median(lengths)} tokens")
    table = write(
        FIXTURES / "minilm_texts.parquet",
        id=pa.array(range(len(texts)), pa.int64()),
        text=pa.array(texts, pa.utf8()),
        embedding=fixed_list(encoder.embed(texts), np.float16),
    )
    norms = np.linalg.norm(np.stack(table["embedding"].to_numpy()).astype(np.float64), axis=1)
    assert np.abs(norms - 1).max() < 1e-3


if __name__ == "__main__":
    main()
