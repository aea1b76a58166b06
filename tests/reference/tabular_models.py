"""Tables that are learnt in context: small transformers of random weights, after TabPFN (Hollmann et al. 2022), and
`in_context.json`: what PyTorch gives for made-up tables.

`in_context` sees the labelled rows and the rows to be answered at once. `in_context_split` is the same model as two
graphs: `context.onnx` runs once over the labelled rows, `model.onnx` answers from what it found. `in_context_value`
predicts a number.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from torch import nn

from agreement import apart, check, rounded
from places import FIXTURES
from sound_models import export

COLUMNS = ["a", "b", "c", "d", "e"]
LABELS = ["low", "middle", "high"]
WIDTH, HEADS, LAYERS = 24, 2, 2
EPSILON = 1e-5


class Attention(nn.Module):
    """Rows `[rows, width]` look at the keys and values `[context, width]` of the labelled rows."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, rows, keys, values):
        parts = [one.reshape(-1, HEADS, WIDTH // HEADS).transpose(0, 1) for one in (self.query(rows), keys, values)]
        query, key, value = parts
        weights = torch.softmax(query @ key.transpose(1, 2) / (WIDTH // HEADS) ** 0.5, dim=-1)
        return self.out((weights @ value).transpose(0, 1).reshape(-1, WIDTH))


class Layer(nn.Module):
    """Attention, then a net for each row; each is added to its input and normalised."""

    def __init__(self):
        super().__init__()
        self.attention = Attention()
        self.net = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def looked_at(self, context):
        """Keys and values of the labelled rows."""
        return self.attention.key(context), self.attention.value(context)

    def forward(self, rows, keys, values):
        rows = self.first(rows + self.attention(rows, keys, values))
        return self.second(rows + self.net(rows))


def moments(columns):
    """Mean and population standard deviation, sqrt(variance + 1e-5), of what is present in each column."""
    present = ~torch.isnan(columns)
    count = present.sum(dim=0).clamp(min=1).to(columns.dtype)
    means = torch.where(present, columns, torch.zeros_like(columns)).sum(dim=0) / count
    distances = torch.where(present, columns - means, torch.zeros_like(columns))
    return means, torch.sqrt((distances * distances).sum(dim=0) / count + EPSILON)


def standard(columns, means, stds):
    """In units of the labelled rows; what is missing is their mean, so 0."""
    return torch.where(torch.isnan(columns), torch.zeros_like(columns), (columns - means) / stds)


class InContext(nn.Module):
    """Labelled rows look at each other, rows to be answered at labelled rows only."""

    def __init__(self, outputs: int):
        super().__init__()
        self.columns = nn.Linear(len(COLUMNS), WIDTH)
        self.label = nn.Embedding(outputs, WIDTH) if outputs > 1 else nn.Linear(1, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.head = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, outputs))

    def read(self, train_x, labels) -> tuple:
        """Means and deviations `[5]`, then keys and values `[train, width]` of each layer; `labels` are embedded already."""
        means, stds = moments(train_x)
        context = self.columns(standard(train_x, means, stds)) + labels
        found = [means, stds]
        for index, layer in enumerate(self.layers):
            keys, values = layer.looked_at(context)
            found += [keys, values]
            if index + 1 < LAYERS:
                context = layer(context, keys, values)
        return tuple(found)

    def answer(self, test_x, means, stds, *looked_at):
        """`[rows, outputs]` from what `read` found."""
        rows = self.columns(standard(test_x, means, stds))
        for index, layer in enumerate(self.layers):
            rows = layer(rows, *looked_at[2 * index: 2 * index + 2])
        return self.head(rows)

    def context(self, train_x, train_y) -> tuple:
        return self.read(train_x, self.label(train_y))

    def forward(self, train_x, train_y, test_x):
        return self.answer(test_x, *self.context(train_x, train_y))


class InContextValue(InContext):
    """Predicts a number; it is in units of the labelled rows inside."""

    def __init__(self):
        super().__init__(1)

    def forward(self, train_x, train_y, test_x):
        mean, std = moments(train_y.unsqueeze(1))
        found = self.read(train_x, self.label((train_y.unsqueeze(1) - mean) / std))
        return self.answer(test_x, *found) * std + mean


def spread(model: nn.Module, seed: int) -> nn.Module:
    """Larger weights than untrained ones: answers would otherwise all be alike."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, 0, (1.2 if "attention" in name or "head" in name else 1.0) / weight.shape[1] ** 0.5)
            elif "bias" in name:
                nn.init.normal_(weight, 0, 0.2)
    return model.eval()


def table(seed: int, rows: int) -> dict:
    """Made-up columns on different scales, a few of them missing, and a number that depends on them."""
    random = np.random.default_rng(seed)
    columns = random.normal([0, 40, -3, 1000, 0.5], [1, 12, 0.4, 300, 0.1], (rows, len(COLUMNS))).round(3)
    units = (columns - [0, 40, -3, 1000, 0.5]) / [1, 12, 0.4, 300, 0.1]
    number = (20 + 4 * units @ [1, -0.7, 0.4, 0.9, -0.2] + random.normal(0, 1, rows)).round(2)
    columns[random.random(columns.shape) < 0.06] = np.nan
    return {"columns": columns, "number": number, "label": np.digitize(number, [17, 23])}


def as_tensors(context: dict, queries: dict) -> dict:
    columns = [torch.from_numpy(one["columns"].astype(np.float32)) for one in (context, queries)]
    return {"train_x": columns[0], "train_y": torch.from_numpy(context["label"]), "test_x": columns[1]}


def axes(names: list) -> dict:
    """`rows` are answered, all others are labelled; means and deviations have no free dimension."""
    own = {"test_x": "rows", "logits": "rows", "value": "rows"}
    return {name: {0: own.get(name, "train")} for name in names if name not in ("means", "stds")}


def export_whole(model: nn.Module, inputs: dict, output: str, path: Path) -> None:
    export(model, model, inputs, [output], axes([*inputs, output]), path)


def export_split(model: InContext, inputs: dict, folder: Path) -> None:
    """What is found in the labelled rows has the same names in both graphs."""
    names = ["means", "stds", *(f"{part}_{layer}" for layer in range(LAYERS) for part in ("keys", "values"))]
    labelled = {name: inputs[name] for name in ("train_x", "train_y")}
    with torch.no_grad():
        found = dict(zip(names, model.context(*labelled.values())))
    export(model.context, model, labelled, names, axes([*labelled, *names]), folder / "context.onnx")
    answering = {"test_x": inputs["test_x"], **found}
    export(model.answer, model, answering, ["logits"], axes([*answering, "logits"]), folder / "model.onnx")


def check_split(model: InContext, inputs: dict, logits, folder: Path) -> None:
    """Both graphs, one after the other, are the whole model."""
    names = ["means", "stds", *(f"{part}_{layer}" for layer in range(LAYERS) for part in ("keys", "values"))]
    with torch.no_grad():
        found = dict(zip(names, model.context(inputs["train_x"], inputs["train_y"])))
    check(folder / "context.onnx", {name: inputs[name] for name in ("train_x", "train_y")}, found)
    check(folder / "model.onnx", {"test_x": inputs["test_x"], **found}, {"logits": logits})


def as_rows(made: dict, with_label: bool) -> list:
    """A row is an object of its columns; null is a missing number."""
    rows = [dict(zip(COLUMNS, rounded(values))) for values in made["columns"]]
    if with_label:
        for row, number, label in zip(rows, made["number"], made["label"]):
            row |= {"label": LABELS[label], "number": float(number)}
    return rows


def main() -> None:
    torch.set_num_threads(1)
    contexts, queries = [table(31, 60), table(32, 30)], table(33, 20)
    whole, split, number = (FIXTURES / name for name in ("in_context", "in_context_split", "in_context_value"))
    for folder in (whole, split, number):
        shutil.rmtree(folder, ignore_errors=True)
    model, value_model = spread(InContext(len(LABELS)), 123), spread(InContextValue(), 35)
    answers = {"columns": COLUMNS, "labels": LABELS, "queries": as_rows(queries, False), "contexts": []}
    for index, context in enumerate(contexts):
        inputs = as_tensors(context, queries)
        numbers = inputs | {"train_y": torch.from_numpy(context["number"].astype(np.float32))}
        with torch.no_grad():
            logits, value = model(**inputs), value_model(**numbers)
            alone = torch.cat([model(inputs["train_x"], inputs["train_y"], row[None]) for row in inputs["test_x"]])
        assert (alone - logits).abs().max() < 1e-5, "rows see each other"
        if not index:
            export_whole(model, inputs, "logits", whole / "model.onnx")
            export_whole(value_model, numbers, "value", number / "model.onnx")
            export_split(model, inputs, split)
        apart(f"context {index}", logits, 0.01)
        apart(f"numbers of context {index}", value, 0.001)
        check(whole / "model.onnx", inputs, {"logits": logits})
        check(number / "model.onnx", numbers, {"value": value})
        check_split(model, inputs, logits, split)
        answers["contexts"].append({
            "rows": as_rows(context, True), "logits": rounded(logits), "probabilities": rounded(logits.softmax(dim=1)),
            "best": [LABELS[best] for best in logits.argmax(dim=1)], "value": rounded(value[:, 0]),
        })
        print(answers["contexts"][-1]["best"])
    first, second = (np.array(one["logits"]) for one in answers["contexts"])
    assert np.abs(first - second).max(axis=1).min() > 0.05, "the context does not matter"
    (FIXTURES / "in_context.json").write_text(json.dumps(answers))
    made = [path for folder in (whole, split, number) for path in folder.iterdir()] + [FIXTURES / "in_context.json"]
    print(", ".join(f"{path.parent.name}/{path.name} {path.stat().st_size:,}" for path in made))


if __name__ == "__main__":
    main()
