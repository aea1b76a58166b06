"""What a careful user of any engine writes around ONNX Runtime: batches sorted by length, Pillow, one head.

Loaded once in each process or worker; `loaded` files say when, so that loading is not counted as work.
"""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
from PIL import Image
from tokenizers import Tokenizer

from tasks import QUESTION, package

TEXT_WIDTH, PICTURE_WIDTH = 384, 1_280
TEXT_BATCH, PICTURE_BATCH, NUMBER_BATCH = 32, 8, 65_536


def session(name: str, threads: int | None):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads:
        options.intra_op_num_threads = threads
    folder = package(name)
    graph = folder / "model.onnx"
    return onnxruntime.InferenceSession(graph if graph.exists() else folder / "onnx" / "model.onnx", options)


def pooled(states: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean over a text's own tokens, at length 1, as the package's 1_Pooling says; float32 `[n, 384]`."""
    weights = mask[..., None].astype(np.float32)
    means = (states * weights).sum(1) / weights.sum(1)
    return means / np.linalg.norm(means, axis=1, keepdims=True)


class Texts:
    """MiniLM: texts to unit vectors, float32 `[n, 384]`."""

    def __init__(self, threads: int | None = None):
        self.session = session("minilm", threads)
        self.tokenizer = Tokenizer.from_file(str(package("minilm") / "tokenizer.json"))
        self.tokenizer.enable_truncation(256)
        self.tokenizer.enable_padding()

    def __call__(self, texts: list) -> np.ndarray:
        vectors = np.empty((len(texts), TEXT_WIDTH), np.float32)
        order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
        for first in range(0, len(order), TEXT_BATCH):
            rows = order[first:first + TEXT_BATCH]
            encoded = self.tokenizer.encode_batch([texts[row] for row in rows])
            feeds = {"input_ids": np.array([one.ids for one in encoded], np.int64),
                     "attention_mask": np.array([one.attention_mask for one in encoded], np.int64)}
            feeds["token_type_ids"] = np.zeros_like(feeds["input_ids"])
            vectors[rows] = pooled(self.session.run(["last_hidden_state"], feeds)[0], feeds["attention_mask"])
        return vectors

    def similarity(self, texts: list) -> np.ndarray:
        """Cosine to the question, float32 `[n]`."""
        return self(texts) @ self([QUESTION])[0]


def picture(path: str) -> np.ndarray:
    """The package's preprocessing: short side 256 bicubic, middle 224 x 224, (x - 127) / 128; float32 `[3, 224, 224]`."""
    image = Image.open(path).convert("RGB")
    width, height = image.size
    size = (256, 256 * height // width) if width <= height else (256 * width // height, 256)
    image = image.resize(size, Image.BICUBIC)
    left, top = (size[0] - 224) // 2, (size[1] - 224) // 2
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32)
    return ((pixels - 127) / 128).transpose(2, 0, 1)


class Pictures:
    """EfficientNet-Lite0 on picture files."""

    def __init__(self, threads: int | None = None, decoders: int | None = None):
        self.session = session("efficientnet-lite0", threads)
        self.pool = ThreadPoolExecutor(decoders or os.cpu_count())

    def run(self, paths: list, output: str) -> np.ndarray:
        batches = [paths[first:first + PICTURE_BATCH] for first in range(0, len(paths), PICTURE_BATCH)]
        run = lambda batch: self.session.run([output], {"pixel_values": np.stack(list(self.pool.map(picture, batch)))})[0]
        return np.concatenate([run(batch) for batch in batches])

    def classify(self, paths: list):
        """Best class and its probability, int32 and float32 `[n]`."""
        logits = self.run(paths, "logits")
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        return shares.argmax(1).astype(np.int32), shares.max(1).astype(np.float32)

    def embed(self, paths: list) -> np.ndarray:
        return self.run(paths, "embedding")


class Numbers:
    """The trees or the perceptron on float32 `[n, 23]`."""

    def __init__(self, name: str, threads: int | None = None):
        self.session, self.is_trees = session(name, threads), name == "trees"

    def __call__(self, values: np.ndarray) -> np.ndarray:
        output, place = ("probabilities", 1) if self.is_trees else ("score", 0)
        run = lambda rows: self.session.run([output], {"x": rows})[0][:, place]
        return np.concatenate([run(values[first:first + NUMBER_BATCH]) for first in range(0, len(values), NUMBER_BATCH)])


class Fused:
    """Both encoders and the head."""

    def __init__(self, threads: int | None = None, decoders: int | None = None):
        self.texts, self.pictures, self.head = Texts(threads), Pictures(threads, decoders), session("fused", threads)

    def __call__(self, numbers: np.ndarray, texts: list, paths: list) -> np.ndarray:
        feeds = {"numbers": np.ascontiguousarray(numbers, np.float32), "text": self.texts(texts), "picture": self.pictures.embed(paths)}
        return self.head.run(["score"], feeds)[0][:, 0]


def model_of(task: str, threads: int | None = None, decoders: int | None = None):
    """The model of a workload, ready; notes in `$BENCH_LOADED` from when to when it was loaded."""
    start = time.time()
    if task == "pictures":
        model = Pictures(threads, decoders)
    elif task in ("trees", "perceptron"):
        model = Numbers(task, threads)
    elif task == "fused":
        model = Fused(threads, decoders)
    else:
        model = Texts(threads)
    if os.environ.get("BENCH_LOADED"):
        with Path(os.environ["BENCH_LOADED"]).open("a") as file:
            file.write(json.dumps([start, time.time()]) + "\n")
    return model


def vectors(values: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
