"""The two pretrained encoders, run by the reference tools.

Both read a model folder in the Hugging Face layout (`onnx/model.onnx` beside its configuration files)
and process one row at a time: no padding, so that a result does not depend on its neighbours.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
from PIL import Image
from tokenizers import Tokenizer

import preprocess


def session(path: Path) -> ort.InferenceSession:
    """A CPU session on one thread, so that sums are always taken in the same order."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class TextEncoder:
    """What sentence-transformers computes for the folder: truncate, encode, mean over the mask, L2 norm 1."""

    def __init__(self, folder: Path):
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        limit = json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]
        # The file carries its own truncation and fixed padding (128); sentence-transformers replaces both.
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_length=limit)
        self.session = session(folder / "onnx" / "model.onnx")
        self.inputs = [i.name for i in self.session.get_inputs()]

    def tokens(self, text: str) -> list[int]:
        """Token ids with [CLS] and [SEP], at most `max_seq_length`."""
        return self.tokenizer.encode(text).ids

    def embed(self, texts: list[str]) -> np.ndarray:
        """float32 `[n, 384]`."""
        return np.stack([self._embed_one(text) for text in texts])

    def _embed_one(self, text: str) -> np.ndarray:
        encoding = self.tokenizer.encode(text)
        feed = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
        }
        feed = {name: np.array([feed[name]], np.int64) for name in self.inputs}
        states = self.session.run(["last_hidden_state"], feed)[0][0]
        mask = np.array(encoding.attention_mask, np.float32)[:, None]
        mean = (states * mask).sum(axis=0) / max(mask.sum(), 1e-9)
        return mean / max(np.linalg.norm(mean), 1e-12)


class ImageEncoder:
    """EfficientNet-Lite0: pixel_values f32[1, 3, 224, 224] -> logits[1, 1000], embedding[1, 1280]."""

    def __init__(self, folder: Path):
        self.config = json.loads((folder / "preprocessor_config.json").read_text())
        self.session = session(folder / "onnx" / "model.onnx")

    def run(self, output: str, picture: Path) -> np.ndarray:
        """One row of `output` for one picture file."""
        with Image.open(picture) as image:
            pixels = preprocess.pixel_values(image, self.config)
        return self.session.run([output], {"pixel_values": pixels[None]})[0][0]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis, in float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
