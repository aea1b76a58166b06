"""`trained/`: packages that `CREATE MODEL .. AS SELECT` wrote, run by Python's onnxruntime.

PyPI onnxruntime, tokenizers, pillow. `python trained.py rows` writes `trained/rows.parquet`; the statements of `trained.sql` in `sensorium sql` fit the models
and write the packages; `python trained.py` runs the graphs of each as its manifest says, on the same rows, and writes `trained/answers.json`: what
each model says of each row, after its activation. Texts go through the package's own tokenizer.json, pictures are as large as their model takes them.
"""

import json
import sys

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from places import FIXTURES
from tokenizers import Tokenizer

FOLDER = FIXTURES / "trained"
ROOT = FIXTURES.parent.parent
ROWS = 240


def make_rows() -> None:
    random = np.random.default_rng(11)
    clip = json.loads((FIXTURES / "joint" / "clip.json").read_text())
    picture, text = random.integers(0, len(clip["pictures"]), ROWS), random.integers(0, len(clip["texts"]), ROWS)
    amount, age, job = random.lognormal(3, 1, ROWS), random.integers(18, 80, ROWS), random.integers(0, 3, ROWS)
    raw = (picture % 2) + (text % 3 == 0) + (np.log(amount) - 3) + (job == 1) + random.normal(0, 0.7, ROWS)
    missing = lambda values, share: pa.array(values, mask=random.random(ROWS) < share)
    folder = "../joint/clip_pictures"
    photos = np.array([f"{folder}/{name.rsplit('.', 1)[0]}.png" for name in clip["pictures"]])
    absent = random.random(ROWS) < 0.2
    vectors = [None if gone else clip["image_embeds"][place] for place, gone in zip(picture, absent)]
    pq.write_table(pa.table({
        "amount": missing(amount, 0.1),
        "age": pa.array(age),
        "job": missing(np.array(["clerk", "smith", "none"])[job], 0.1),
        "note": pa.array(np.array(clip["texts"])[text]),
        "photo": pa.array(photos[picture], mask=absent),
        "note_vector": pa.array([clip["text_embeds"][place] for place in text], pa.list_(pa.float32(), len(clip["text_embeds"][0]))),
        "photo_vector": pa.array(vectors, pa.list_(pa.float32(), len(clip["image_embeds"][0]))),
        "good": pa.array(np.where(raw > 1.5, "yes", "no")),
        "size": pa.array(np.array(["small", "middle", "large"])[np.digitize(raw, [0.8, 2.0])]),
        "price": pa.array(10 * raw + 50),
    }), FOLDER / "rows.parquet")


def column(table: pa.Table, name: str, element: str) -> np.ndarray:
    values = table[name].to_pylist()
    missing = "" if element == "string" else np.nan
    return np.array([missing if value is None else value for value in values], dtype=object if element == "string" else np.float32)


def feed(package, table: pa.Table, port: dict, source: dict, inputs: dict, outputs: dict) -> np.ndarray:
    """One input of a graph: what its manifest says it is made of."""
    match source["from"]:
        case "columns":
            return np.stack([column(table, name, port["element"]) for name in source["inputs"]], axis=1)
        case "vector":
            width = port["shape"][1]
            return np.array([vector or [0.0] * width for vector in table[source["input"]].to_pylist()], dtype=np.float32)
        case "present":
            return np.array([[value is not None] for value in table[source["input"]].to_pylist()], dtype=port["element"])
        case "output":
            vectors = outputs[source["stage"], source["output"]]
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            return vectors / np.where(lengths == 0, 1, lengths) if source["normalize"] else vectors
        case "tokens":
            spec = inputs[source["input"]]
            tokenizer = Tokenizer.from_file(str(package / spec["tokenizer"]))
            tokenizer.enable_truncation(spec["max_tokens"])
            tokenizer.enable_padding(pad_id=spec["pad_token"])
            found = tokenizer.encode_batch([text or "" for text in table[source["input"]].to_pylist()])
            take = {"input_ids": lambda text: text.ids, "attention_mask": lambda text: text.attention_mask}[source["part"]]
            return np.array([take(text) for text in found], dtype=np.int64)
        case "pixels":
            spec = inputs[source["input"]]
            mean, deviation = np.array(spec["mean"], np.float32), np.array(spec["std"], np.float32)
            pictures = [np.zeros((32, 32, 3), np.uint8) if uri is None else np.asarray(Image.open(FOLDER / uri)) for uri in table[source["input"]].to_pylist()]
            return ((np.stack(pictures).astype(np.float32) / 255 - mean) / deviation).transpose(0, 3, 1, 2)
    raise ValueError(source)


def answers(package, table: pa.Table) -> list:
    manifest = json.loads((package / "sensorium.json").read_text())
    inputs = {own["name"]: own for own in manifest["inputs"]}
    outputs = {}
    for stage in manifest["stages"]:
        feeds = {own["port"]["name"]: feed(package, table, own["port"], own["source"], inputs, outputs) for own in stage["feeds"]}
        session = onnxruntime.InferenceSession(package / stage["graph"])
        names = [own["name"] for own in stage["outputs"]]
        for name, found in zip(names, session.run(names, feeds)):
            source = stage["feeds"][0]["source"]
            if source["from"] in ("tokens", "pixels"):
                # An encoder is not asked about what is not there.
                found = np.where([[value is not None] for value in table[source["input"]].to_pylist()], found, np.float32(0))
            outputs[stage["name"], name] = found
    prediction = manifest["prediction"]
    scores = prediction.get("scores") or prediction["value"]
    raw = outputs[scores["stage"], scores["output"]].astype(np.float64)
    match prediction.get("activation"):
        case "sigmoid":
            second = 1 / (1 + np.exp(-raw))
            return np.concatenate([1 - second, second], axis=1).tolist()
        case "softmax":
            powers = np.exp(raw - raw.max(axis=1, keepdims=True))
            return (powers / powers.sum(axis=1, keepdims=True)).tolist()
        case None:
            return raw.tolist()
    raise ValueError(prediction)


def main() -> None:
    table = pq.read_table(FOLDER / "rows.parquet")
    packages = sorted(path.parent for path in FOLDER.glob("*/sensorium.json"))
    found = {package.name: answers(package, table) for package in packages}
    rounded = {name: [[float(f"{value:.9g}") for value in row] for row in rows] for name, rows in found.items()}
    (FOLDER / "answers.json").write_text(json.dumps(rounded))


if __name__ == "__main__":
    if sys.argv[1:] == ["rows"]:
        make_rows()
    else:
        main()
