"""What the models of `vision_language_models.py` have in common: prompts with media, what transformers' own `generate` writes
behind them, graphs in the manner of transformers.js, and whether ONNX Runtime computes with these graphs what PyTorch does."""

import copy
import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import soundfile as sf
import torch
from PIL import Image
from transformers import DynamicCache

from agreement import rounded
from encoders import session
from places import FIXTURES
from sound_models import export as export_graph
from text_models import logprob

FOLDER = FIXTURES / "vision_language"
ROOT = FIXTURES.parent.parent
SIDE = 32
# Of the side that the models see: nothing is resized.
PICTURES = [f"tests/fixtures/vit_pictures/{name}.png" for name in
            ("photo_astronaut", "photo_chelsea", "photo_coffee", "photo_rocket", "jpeg_420_q50")]
SOUNDS = [f"tests/fixtures/sounds/voice_{number}.flac" for number in range(3)]
ASKED = {
    "greedy": {"max_new_tokens": 16},
    "beams": {"max_new_tokens": 10, "num_beams": 3},
    "no_repeats": {"max_new_tokens": 16, "no_repeat_ngram_size": 2, "repetition_penalty": 1.3},
}
TOLERANCE = 1e-4
MARKERS = ("<image>", "<audio>")


def picture(path: str) -> Image.Image:
    return Image.open(ROOT / path).convert("RGB")


def sound(path: str) -> np.ndarray:
    return sf.read(ROOT / path, dtype="float32")[0]


def parts(prompt: str) -> list:
    """A user's text, in which `<image>` and `<audio>` stand for media, as the parts of a message."""
    found = [part for part in re.split(f"({'|'.join(MARKERS)})", prompt) if part]
    return [{"type": part.strip("<>")} if part in MARKERS else {"type": "text", "text": part} for part in found]


def fresh_folder(name: str) -> Path:
    shutil.rmtree(FOLDER / name, ignore_errors=True)
    (FOLDER / name / "onnx").mkdir(parents=True)
    return FOLDER / name


def sharpen(head: torch.nn.Linear, words: torch.nn.Embedding, silent=()) -> None:
    """Choices that are clearer still and depend more on the last word; tokens that stand for media are never written."""
    with torch.no_grad():
        words.weight *= 4
        head.weight *= 3
        head.weight[list(silent)] = 0


class Bound(torch.nn.Module):
    """`model` with the media of one row, called with token ids alone."""

    def __init__(self, model, inputs: dict, grown):
        super().__init__()
        self.model, self.grown = model, grown
        self.inputs = {name: value for name, value in inputs.items() if name not in ("input_ids", "attention_mask", "token_type_ids")}

    def forward(self, ids):
        with torch.no_grad():
            return self.model(input_ids=ids, attention_mask=torch.ones_like(ids), **self.inputs | self.grown(self.inputs, ids.shape[1]))


def nothing_grows(_inputs: dict, _length: int) -> dict:
    return {}


def tile_pictures(model) -> None:
    """generate() repeats the pictures of a row one by one for its beams, so that beams of a row with two have the wrong ones: repeats them
    as a whole instead. Pictures of Idefics are one tensor a row, which is right as it is."""
    expand = type(model)._expand_inputs_for_generation

    def whole(expand_size=1, **given):
        pictures = given.get("pixel_values")
        if pictures is None or pictures.dim() != 4:
            return expand(expand_size=expand_size, **given)
        ids, given = expand(expand_size=expand_size, **given | {"pixel_values": None})
        return ids, given | {"pixel_values": pictures.repeat(expand_size, 1, 1, 1)}

    model._expand_inputs_for_generation = whole


def generated(model, own, inputs: dict, asked: dict) -> list:
    tile_pictures(model)
    made = model.generate(**inputs, do_sample=False, pad_token_id=own.pad_token_id, **asked)
    return made[0, inputs["input_ids"].shape[1]:].tolist()


def written(model, own, inputs: dict, asked: dict, grown=nothing_grows) -> dict:
    """`grown` gives the inputs that have a value for each token."""
    tokens = generated(model, own, inputs, asked)
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    length = next((place for place, token in enumerate(tokens) if token in ends), None)
    tokens = tokens if length is None else tokens[:length + 1]
    return {"tokens": tokens, "finish_reason": "length" if length is None else "stop",
            "text": own.decode(tokens[:length], skip_special_tokens=True),
            "logprob": logprob(Bound(model, inputs, grown), inputs["input_ids"][0].tolist(), tokens)}


def ended(model, own, rows: list, ends: list) -> None:
    """A model that was not trained does not end by itself: another end is the token that comes last in the most answers,
    of those that never come early."""
    texts = [generated(model, own, row, ASKED["greedy"]) for row in rows]
    firsts = {token: [text.index(token) for text in texts if token in text] for text in texts for token in text}
    model.generation_config.eos_token_id = ends + [max(sorted(firsts), key=lambda token: (min(firsts[token]) > 4, len(firsts[token])))]


def answers(model, own, rows: list, grown=nothing_grows) -> dict:
    return {way: [written(model, own, row, options, grown) for row in rows] for way, options in ASKED.items()}


def steady(model, own, rows: list, found: dict, grown=nothing_grows) -> None:
    """The best token leads clearly at each greedy step, and slightly other weights write the same everywhere."""
    leads = []
    for row, one in zip(rows, found["greedy"]):
        ids = row["input_ids"][0].tolist()
        best = Bound(model, row, grown)(torch.tensor([ids + one["tokens"]])).logits[0, len(ids) - 1:-1].topk(2)
        assert best.indices[:, 0].tolist() == one["tokens"]
        leads.append(float((best.values[:, 0] - best.values[:, 1]).min()))
    print("smallest leads:", [round(lead, 3) for lead in leads])
    assert min(leads) > 50 * TOLERANCE
    other = copy.deepcopy(model)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in other.parameters():
            weight *= 1 + 1e-5 * torch.randn_like(weight)
    again = answers(other, own, rows, grown)
    for way in found:
        assert [one["tokens"] for one in found[way]] == [one["tokens"] for one in again[way]], way
    off = max(abs(one["logprob"] - two["logprob"]) for way in found for one, two in zip(found[way], again[way]))
    print(f"with weights that are off by 1e-5: the same tokens, log-probabilities within {off:.1e}")


def media_matter(model, own, changed: list, found: dict) -> None:
    """`changed` holds for each row its inputs with other media, each of which must be answered otherwise."""
    count = 0
    for inputs, answer in ((inputs, answer) for others, answer in zip(changed, found["greedy"]) for inputs in others):
        count += 1
        assert generated(model, own, inputs, ASKED["greedy"])[:len(answer["tokens"])] != answer["tokens"]
    print(count, "other media, as many other answers")


def causal(mask: torch.Tensor, count: int) -> torch.Tensor:
    """What the last `count` tokens may look at, among those that `mask` admits: numbers to be added to scores."""
    places = torch.arange(mask.shape[1])
    seen = places[None] <= places[mask.shape[1] - count:, None]
    return (~(seen[None, None] & (mask[:, None, None] > 0))).float() * torch.finfo(torch.float32).min


def export(run, model, inputs: dict, outputs: list, axes: dict, path: Path) -> None:
    """A graph that tells all sizes that are not among `axes`."""
    with torch.no_grad():
        found = run(*inputs.values())
    export_graph(run, model, inputs, outputs, axes, path)
    # The exporter leaves it as if for training.
    model.eval()
    graph = onnx.load(path)
    for output, value in zip(graph.graph.output, found if isinstance(found, (list, tuple)) else [found]):
        for index, (known, size) in enumerate(zip(output.type.tensor_type.shape.dim, value.shape)):
            if index not in axes.get(output.name, {}):
                known.dim_value = size
    onnx.save(graph, path)


def export_decoder(path: Path, model, step, inputs: dict, axes: dict, layers: int, heads: int, size: int) -> None:
    """`step(cache, *inputs)` gives logits; the cache holds keys and values of `layers` layers."""
    def run(*values):
        past = values[len(inputs):]
        cache = DynamicCache()
        for layer in range(layers):
            cache.update(past[2 * layer], past[2 * layer + 1], layer)
        logits = step(cache, *values[:len(inputs)])
        return [logits, *(value for layer in cache.layers for value in (layer.keys, layer.values))]

    names = [f"{layer}.{part}" for layer in range(layers) for part in ("key", "value")]
    new, total = inputs["position_ids"].shape[1], inputs["attention_mask"].shape[1]
    given = inputs | {f"past_key_values.{name}": torch.randn(len(inputs["attention_mask"]), heads, total - new, size) for name in names}
    axes = {name: {0: "batch_size", 1: "sequence_length"} for name in ("inputs_embeds", "input_ids", "position_ids", "logits")
            if name in inputs or name == "logits"} | {"attention_mask": {0: "batch_size", 1: "total_sequence_length"}} | axes
    axes |= {f"past_key_values.{name}": {0: "batch_size", 2: "past_sequence_length"} for name in names}
    axes |= {f"present.{name}": {0: "batch_size", 2: "total_sequence_length"} for name in names}
    export(run, model, given, ["logits", *(f"present.{name}" for name in names)], axes, path)


class Graphs:
    """A folder's graphs in ONNX Runtime."""

    def __init__(self, folder: Path):
        self.sessions = {path.stem: session(path) for path in (folder / "onnx").glob("*.onnx")}
        self.past = {}

    def run(self, graph: str, **inputs) -> list:
        """All outputs; what the graph does not ask for is left out."""
        asked = {one.name for one in self.sessions[graph].get_inputs()}
        return self.sessions[graph].run(None, {name: np.asarray(value) for name, value in inputs.items() if name in asked})

    def logits(self, mask: torch.Tensor, new: int, **inputs) -> np.ndarray:
        """Of the last `new` tokens; when these are all, the past is empty, otherwise it is what the call before left."""
        if new == mask.shape[1]:
            self.past = {one.name: np.zeros((len(mask), one.shape[1], 0, one.shape[3]), np.float32)
                         for one in self.sessions["decoder_model_merged"].get_inputs() if one.name.startswith("past_key_values.")}
        inputs |= {"attention_mask": mask, "position_ids": positions(mask)[:, -new:], **self.past}
        logits, *present = self.run("decoder_model_merged", **inputs)
        self.past = dict(zip(self.past, present))
        return logits


def positions(mask: torch.Tensor) -> torch.Tensor:
    return (mask.cumsum(1) - 1).clamp(min=0)


def check(name: str, graphs: Graphs, model, pad: int, rows: list, media: dict, decoder_inputs, grown=nothing_grows) -> None:
    """The rows together, padded on the left: what the decoder gives at the first step, for one more token and for three more.

    `media` are inputs of PyTorch's model, `decoder_inputs(ids, new)` gives the decoder's for the last `new` tokens."""
    ids = [row["input_ids"][0].tolist() for row in rows]
    longest = max(map(len, ids))
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in ids])
    ids, new = torch.tensor([[pad] * (longest - len(row)) + row for row in ids]), longest
    for more in (1, 3, 0):
        with torch.no_grad():
            want = model(input_ids=ids, attention_mask=mask, position_ids=positions(mask), **media | grown(media, ids.shape[1])).logits
        got = graphs.logits(mask, new, **decoder_inputs(ids, new))
        off = np.abs(got - want[:, -new:].numpy())[mask[:, -new:].numpy() > 0].max()
        print(f"{name}: {new} new of {ids.shape[1]} tokens, logits within {off:.1e} of PyTorch, up to {want.abs().max():.1f}")
        assert off < TOLERANCE, (name, off)
        ids = torch.cat([ids, want[:, -1:].argmax(-1), torch.randint(5, 300, (len(ids), 2))], 1)[:, :ids.shape[1] + more]
        mask, new = torch.cat([mask, torch.ones(len(ids), more, dtype=torch.long)], 1), more


def agree(name: str, got, want: torch.Tensor) -> None:
    off = np.abs(np.asarray(got) - want.numpy()).max()
    print(f"{name}: {tuple(want.shape)} within {off:.1e} of PyTorch, up to {want.abs().max():.1f}")
    assert got.shape == want.shape and off < TOLERANCE, (name, off)


def sample(values, step: int = 97) -> list:
    return rounded(np.asarray(values).flatten()[::step])


def write(name: str, own, asked: list, rows: list, found: dict, more: dict) -> None:
    """`asked` tells of each row what it is made of, `more` of what the media become on the way."""
    for one, row in zip(asked, rows):
        one["ids"] = row["input_ids"][0].tolist()
        one["text_seen"] = own.decode(one["ids"])
        assert own(one["text_seen"], add_special_tokens=False)["input_ids"] == one["ids"]
    found = {way: [one | answer for one, answer in zip(asked, answers)] for way, answers in found.items()} | more
    (FOLDER / name / "special_tokens_map.json").unlink(missing_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(found, ensure_ascii=False) + "\n")
    for way in ASKED:
        print(name, way, [(one["text"], one["finish_reason"]) for one in found[way]])
    sizes = {str(path.relative_to(FOLDER)): path.stat().st_size for path in sorted((FOLDER / name).rglob("*")) if path.is_file()}
    print(sizes, sum(sizes.values()))
    assert sum(sizes.values()) < 800_000
