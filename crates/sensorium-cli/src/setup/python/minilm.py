"""The all-MiniLM-L6-v2 sentence encoder as ONNX.

Architecture: BERT (Devlin et al., 2018, https://arxiv.org/abs/1810.04805), with the layer order
and weight names of transformers/models/bert/modeling_bert.py. Dropout is left out, because it
does nothing at inference. Pooling and normalisation are not part of the graph: the package's
modules.json declares them.

Shape letters: b batch, s sequence, d hidden size, h attention heads, k = d / h.
"""

import json
import math

import numpy as np
from onnx import TensorProto
from safetensors.numpy import load_file

from graph import Graph, float_value, int64_value


def convert(model_dir):
    """Read config.json and model.safetensors in `model_dir`; return the encoder's ModelProto.

    input_ids, attention_mask, token_type_ids: int64[b, s] -> last_hidden_state: float32[b, s, d]
    """
    config = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))
    if config["model_type"] != "bert" or config["hidden_act"] != "gelu":
        raise ValueError("expected a BERT encoder with GELU activations")
    return BertEncoder(config, load_file(model_dir / "model.safetensors")).build()


class BertEncoder:
    """Writes one BERT encoder; `weights` maps the checkpoint's names to arrays."""

    def __init__(self, config, weights):
        self.graph = Graph()
        self.weights = weights
        self.layers = config["num_hidden_layers"]
        self.hidden_size = config["hidden_size"]
        self.heads = config["num_attention_heads"]
        self.head_size = self.hidden_size // self.heads
        self.epsilon = config["layer_norm_eps"]

    def build(self):
        """Chain embeddings and layers, and declare the inputs and the output."""
        mask = self.additive_mask("attention_mask")
        hidden = self.embed("input_ids", "token_type_ids")
        for index in range(self.layers):
            hidden = self.layer(hidden, mask, f"encoder.layer.{index}")
        self.graph.node("Identity", hidden, output="last_hidden_state")

        names = ("input_ids", "attention_mask", "token_type_ids")
        inputs = [int64_value(name, "batch", "sequence") for name in names]
        output = float_value("last_hidden_state", "batch", "sequence", self.hidden_size)
        return self.graph.build("minilm", inputs, [output])

    def embed(self, input_ids, token_type_ids):
        """BertEmbeddings: int64[b, s] twice -> float32[b, s, d]."""
        graph = self.graph
        words = graph.node("Gather", self.weight("embeddings.word_embeddings"), input_ids)
        kinds = self.weight("embeddings.token_type_embeddings")
        types = graph.node("Gather", kinds, token_type_ids)
        length = graph.node("Shape", input_ids, start=1, end=2)
        table = self.weight("embeddings.position_embeddings")
        positions = graph.node("Slice", table, graph.ints(0), length, graph.ints(0))
        total = graph.node("Add", graph.node("Add", words, types), positions)
        return self.layer_norm(total, "embeddings.LayerNorm")

    def additive_mask(self, attention_mask):
        """int64[b, s], 1 for tokens and 0 for padding -> float32[b, 1, 1, s], 0 and lowest.

        Added to attention scores, it leaves padding no weight after the softmax.
        """
        graph = self.graph
        mask = graph.node("Unsqueeze", attention_mask, graph.ints(1, 2))
        mask = graph.node("Cast", mask, to=TensorProto.FLOAT)
        padding = graph.node("Sub", graph.scalar(1.0), mask)
        return graph.node("Mul", padding, graph.scalar(float(np.finfo(np.float32).min)))

    def layer(self, hidden, mask, name):
        """BertLayer: float32[b, s, d] -> float32[b, s, d]."""
        graph = self.graph
        attended = self.linear(self.attention(hidden, mask, name), f"{name}.attention.output.dense")
        hidden = self.layer_norm(
            graph.node("Add", attended, hidden), f"{name}.attention.output.LayerNorm"
        )
        expanded = self.gelu(self.linear(hidden, f"{name}.intermediate.dense"))
        contracted = self.linear(expanded, f"{name}.output.dense")
        return self.layer_norm(graph.node("Add", contracted, hidden), f"{name}.output.LayerNorm")

    def attention(self, hidden, mask, name):
        """BertSelfAttention: softmax(q k^T / sqrt(k) + mask) v, float32[b, s, d] -> [b, s, d]."""
        graph = self.graph
        query = self.project(hidden, f"{name}.attention.self.query", [0, 2, 1, 3])  # [b, h, s, k]
        key = self.project(hidden, f"{name}.attention.self.key", [0, 2, 3, 1])  # [b, h, k, s]
        value = self.project(hidden, f"{name}.attention.self.value", [0, 2, 1, 3])  # [b, h, s, k]
        scores = graph.node("MatMul", query, key)
        scores = graph.node("Div", scores, graph.scalar(math.sqrt(self.head_size)))
        weights = graph.node("Softmax", graph.node("Add", scores, mask), axis=-1)
        context = graph.node("Transpose", graph.node("MatMul", weights, value), perm=[0, 2, 1, 3])
        return graph.node("Reshape", context, graph.ints(0, 0, self.hidden_size))

    def project(self, hidden, name, order):
        """Apply linear `name`, split into heads as [b, s, h, k], and permute the axes."""
        shape = self.graph.ints(0, 0, self.heads, self.head_size)
        split = self.graph.node("Reshape", self.linear(hidden, name), shape)
        return self.graph.node("Transpose", split, perm=order)

    def linear(self, x, name):
        """torch.nn.Linear: [..., m] -> [..., n], from a stored weight [n, m] and bias [n]."""
        product = self.graph.node("MatMul", x, self.weight(name, transpose=True))
        return self.graph.node("Add", product, self.bias(name))

    def layer_norm(self, x, name):
        """torch.nn.LayerNorm over the last axis; keeps the shape."""
        parameters = self.weight(name), self.bias(name)
        return self.graph.node("LayerNormalization", x, *parameters, axis=-1, epsilon=self.epsilon)

    def gelu(self, x):
        """Exact GELU, x (1 + erf(x / sqrt 2)) / 2 (https://arxiv.org/abs/1606.08415)."""
        graph = self.graph
        erf = graph.node("Erf", graph.node("Div", x, graph.scalar(math.sqrt(2))))
        gated = graph.node("Mul", x, graph.node("Add", erf, graph.scalar(1.0)))
        return graph.node("Mul", gated, graph.scalar(0.5))

    def weight(self, name, transpose=False):
        """Store the checkpoint tensor `name`.weight, transposed if asked."""
        array = self.weights[f"{name}.weight"]
        return self.graph.weight(f"{name}.weight", array.T if transpose else array)

    def bias(self, name):
        """Store the checkpoint tensor `name`.bias."""
        return self.graph.weight(f"{name}.bias", self.weights[f"{name}.bias"])
