"""The workloads: what is asked, in SQL, and the parts that its floor is made of."""

import os
from dataclasses import dataclass, field
from pathlib import Path

COLUMNS = [f"f{number}" for number in range(17)] + [f"i{number}" for number in range(6)]
FUSED_COLUMNS = COLUMNS[:8]
# The selective workload keeps the rows above this quantile.
LEAST_AMOUNT_SHARE = 0.99
LEAST_SIMILARITY = 0.1
QUESTION = "an excellent film"


def cache() -> Path:
    """The folder that `sensorium setup` fills."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("SENSORIUM_CACHE") or Path(base) / "sensorium")


def packages_folder() -> Path:
    return cache() / "models"


def data_folder() -> Path:
    return cache() / "bench"


def package(name: str) -> Path:
    """A model of the set-up, or one that make_data.py made."""
    own = data_folder() / name
    return own if own.is_dir() else packages_folder() / name


@dataclass
class Part:
    """One model on one column of one table: what benches/floor.rs measures."""

    package: str
    table: str
    columns: str
    output: str | None = None


@dataclass
class Task:
    """`rows` for the comparison with other engines, where slow ones must finish; `full` for that with the floor."""

    table: str
    rows: int
    full: int
    model: str
    package: str
    # The answer as rows, with {table} for the Parquet file.
    select: str
    # The same without keeping the answer, and the scan alone.
    consume: str
    scan: str
    parts: list = field(default_factory=list)


def least_amount() -> float:
    return float((data_folder() / "least_amount").read_text())


def tasks() -> dict:
    amounts, least = data_folder() / "amounts.parquet", least_amount()
    sums = ", ".join(f"sum({name})" for name in COLUMNS)
    numbers = ", ".join(COLUMNS)
    joined = f"'{{table}}' t JOIN '{amounts}' a ON t.id = a.id"
    alike = f"mm_similarity(mm_embed('minilm', t.text), mm_embed('minilm', '{QUESTION}'))"
    cheap, dear = f"a.amount > {least}", f"{alike} > {LEAST_SIMILARITY}"
    text_scan = "SELECT sum(octet_length(text)) FROM '{table}'"
    text_part = lambda table: [Part("minilm", table, "text", "last_hidden_state")]
    picture = "mm_predict('efficientnet', path)"
    inputs = ", ".join(f"{name}: {name}" for name in FUSED_COLUMNS)
    fused = f"mm_predict('fused', {{{{{inputs}, text: text, path: path}}}})"
    return {
        "text": Task(
            "texts", 1_000, 20_000, "minilm", "minilm",
            "SELECT id, mm_embed('minilm', text) AS embedding FROM '{table}'",
            "SELECT count(mm_embed('minilm', text)) FROM '{table}'", text_scan, text_part("texts")),
        "pictures": Task(
            "pictures", 500, 2_000, "efficientnet", "efficientnet-lite0",
            f"SELECT id, r.label AS label, r.score AS score FROM (SELECT id, {picture} AS r FROM '{{table}}')",
            f"SELECT count(r.label) FROM (SELECT {picture} AS r FROM '{{table}}')",
            "SELECT sum(octet_length(path)) FROM '{table}'", [Part("efficientnet-lite0", "pictures", "path", "logits")]),
        "trees": Task(
            "numbers", 1_000_000, 5_000_000, "trees", "trees",
            f"SELECT id, mm_predict('trees', {numbers}).probabilities[1] AS score FROM '{{table}}'",
            f"SELECT count(r.label) FROM (SELECT mm_predict('trees', {numbers}) AS r FROM '{{table}}')",
            f"SELECT {sums} FROM '{{table}}'", [Part("trees", "numbers", ",".join(COLUMNS), "probabilities")]),
        "perceptron": Task(
            "numbers", 5_000_000, 5_000_000, "perceptron", "perceptron",
            f"SELECT id, mm_predict('perceptron', {numbers}) AS score FROM '{{table}}'",
            f"SELECT sum(mm_predict('perceptron', {numbers})) FROM '{{table}}'",
            f"SELECT {sums} FROM '{{table}}'", [Part("perceptron", "numbers", ",".join(COLUMNS), "score")]),
        "duplicates": Task(
            "duplicates", 4_000, 500_000, "minilm", "minilm",
            "SELECT id, mm_embed('minilm', text) AS embedding FROM '{table}'",
            "SELECT count(mm_embed('minilm', text)) FROM '{table}'", text_scan, text_part("distinct")),
        "selective": Task(
            "texts", 2_000, 20_000, "minilm", "minilm",
            f"SELECT t.id AS id, {alike} AS score FROM {joined} WHERE {dear} AND {cheap}",
            f"SELECT count(*) FROM {joined} WHERE {dear} AND {cheap}",
            f"SELECT sum(octet_length(t.text)) FROM {joined} WHERE {cheap}", text_part("selected")),
        "fused": Task(
            "fused", 250, 2_000, "fused", "fused",
            f"SELECT id, {fused} AS score FROM '{{table}}'", f"SELECT sum({fused}) FROM '{{table}}'",
            f"SELECT sum(octet_length(text)), sum(octet_length(path)), {', '.join(f'sum({name})' for name in FUSED_COLUMNS)} FROM '{{table}}'",
            [Part("minilm", "fused", "text", "last_hidden_state"), Part("efficientnet-lite0", "fused", "path", "embedding")]),
    }
