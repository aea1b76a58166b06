"""Whisper as an encoder and a decoder in ONNX, in the layout that Optimum writes.

Architecture: Radford et al., 2022 (https://arxiv.org/abs/2212.04356), with the layers and names of
whisper/model.py; weights under the names of CTranslate2's WhisperSpec. The decoder has two branches in
one graph: the first step takes all tokens and the encoder's states, later ones a token and a cache.

Shape letters: b batch, m mel bands, f frames, e = f / 2 encoder steps, t tokens, p tokens before them,
d hidden size, h attention heads, k = d / h, v vocabulary.
"""

import math

import numpy as np
from onnx import TensorProto, helper

from graph import Graph, bool_value, float_value, int64_value

FRAMES = 3000


class Whisper:
    """Writes the two graphs; `weights` maps CTranslate2's names to arrays."""

    def __init__(self, weights):
        self.weights = weights
        self.hidden_size = len(weights["encoder/conv1/bias"])
        self.mels = weights["encoder/conv1/weight"].shape[1]
        self.heads = int(weights["encoder/num_heads"])
        self.head_size = self.hidden_size // self.heads
        self.vocabulary = len(weights["decoder/embeddings/weight"])
        self.positions = len(weights["decoder/position_encodings/encodings"])
        self.encoder_layers = self.count("encoder")
        self.decoder_layers = self.count("decoder")
        self.graph = Graph()

    def count(self, side):
        """Number of layers of `encoder` or `decoder`."""
        parts = [name.split("/")[1] for name in self.weights if name.startswith(f"{side}/layer_")]
        return 1 + max(int(part.removeprefix("layer_")) for part in parts if part != "layer_norm")

    def encoder(self):
        """input_features float32[b, m, f] -> last_hidden_state float32[b, e, d], as a ModelProto."""
        graph = self.graph = Graph()
        hidden = "input_features"
        for name, stride in (("conv1", 1), ("conv2", 2)):
            kernel = self.weight(f"encoder/{name}/weight"), self.weight(f"encoder/{name}/bias")
            hidden = graph.node("Conv", hidden, *kernel, kernel_shape=[3], pads=[1, 1], strides=[stride])
            hidden = self.gelu(hidden)
        hidden = graph.node("Transpose", hidden, perm=[0, 2, 1])
        hidden = graph.node("Add", hidden, self.weight("encoder/position_encodings/encodings"))
        for index in range(self.encoder_layers):
            name = f"encoder/layer_{index}"
            attention = f"{name}/self_attention"
            query, key, value = self.own_projections(self.norm(hidden, attention), attention)
            hidden = self.add(hidden, self.attend(query, key, value), f"{attention}/linear_1")
            hidden = self.feed_forward(hidden, name)
        graph.node("Identity", self.norm(hidden, "encoder"), output="last_hidden_state")
        features = float_value("input_features", "batch", self.mels, FRAMES)
        states = float_value("last_hidden_state", "batch", FRAMES // 2, self.hidden_size)
        return graph.build("whisper_encoder", [features], [states])

    def decoder(self):
        """Both branches under one `If`, as a ModelProto."""
        graph = self.graph = Graph()
        caches = [f"{layer}.{side}.{part}" for layer in range(self.decoder_layers) for side in ("decoder", "encoder") for part in ("key", "value")]
        outputs = ["logits", *(f"present.{cache}" for cache in caches)]
        branches = {}
        for with_cache in (True, False):
            self.graph = graph.branch("later/" if with_cache else "first/")
            branches[with_cache] = self.graph.subgraph(self.step(with_cache), outputs)
        graph.conditional("use_cache_branch", branches[True], branches[False], outputs)

        states = float_value("encoder_hidden_states", "batch", "steps", self.hidden_size)
        past = [float_value(f"past_key_values.{cache}", *self.cache_shape(cache, "past")) for cache in caches]
        inputs = [int64_value("input_ids", "batch", "tokens"), states, *past, bool_value("use_cache_branch", 1)]
        present = [float_value(f"present.{cache}", *self.cache_shape(cache, "present")) for cache in caches]
        logits = float_value("logits", "batch", "tokens", self.vocabulary)
        return graph.build("whisper_decoder", inputs, [logits, *present])

    def cache_shape(self, cache, when):
        """[b, h, length, k]; what the encoder gave is as long as its steps."""
        length = f"{when}_tokens" if ".decoder." in cache else f"{when}_steps"
        return "batch", self.heads, length, self.head_size

    def step(self, with_cache):
        """One step of the decoder: the names of its logits and of the caches that it leaves, in order."""
        graph = self.graph
        length = graph.node("Shape", "input_ids", start=1, end=2)
        start = graph.node("Shape", "past_key_values.0.decoder.key", start=2, end=3) if with_cache else graph.ints(0)
        words = graph.node("Gather", self.weight("decoder/embeddings/weight"), "input_ids")
        table = self.weight("decoder/position_encodings/encodings")
        positions = graph.node("Slice", table, start, graph.node("Add", start, length), graph.ints(0))
        hidden = graph.node("Add", words, positions)
        mask = None if with_cache else self.causal_mask(length)
        left = []
        for index in range(self.decoder_layers):
            name = f"decoder/layer_{index}"
            hidden, own = self.attend_to_written(hidden, mask, name, index, with_cache)
            hidden, looked_at = self.attend_to_heard(hidden, name, index, with_cache)
            hidden = self.feed_forward(hidden, name)
            left += [*own, *looked_at]
        return [self.logits(self.norm(hidden, "decoder")), *left]

    def logits(self, hidden):
        """Products with the embeddings of all words: float32[b, t, d] -> [b, t, v]. As a Gemm, which takes the table as it
        lies: a transposed copy for each branch would be larger than the rest of the model."""
        graph = self.graph
        flat = graph.node("Reshape", hidden, graph.ints(-1, self.hidden_size))
        products = graph.node("Gemm", flat, self.weight("decoder/embeddings/weight"), transB=1)
        shape = graph.node("Concat", graph.node("Shape", "input_ids"), graph.ints(self.vocabulary), axis=0)
        return graph.node("Reshape", products, shape)

    def causal_mask(self, length):
        """float32[t, t]: 0 up to the diagonal, lowest behind it."""
        graph = self.graph
        squeezed = graph.node("Squeeze", length, graph.ints(0))
        places = graph.node("Range", graph.integer(0), squeezed, graph.integer(1))
        rows, columns = graph.node("Unsqueeze", places, graph.ints(1)), graph.node("Unsqueeze", places, graph.ints(0))
        behind = graph.node("Cast", graph.node("Less", rows, columns), to=TensorProto.FLOAT)
        return graph.node("Mul", behind, graph.scalar(float(np.finfo(np.float32).min)))

    def attend_to_written(self, hidden, mask, name, index, with_cache):
        """Self-attention over the tokens so far; returns their keys and values, [b, h, p + t, k], as well."""
        attention = f"{name}/self_attention"
        query, key, value = self.own_projections(self.norm(hidden, attention), attention)
        if with_cache:
            past = f"past_key_values.{index}.decoder"
            key = self.graph.node("Concat", f"{past}.key", key, axis=2)
            value = self.graph.node("Concat", f"{past}.value", value, axis=2)
        return self.add(hidden, self.attend(query, key, value, mask), f"{attention}/linear_1"), (key, value)

    def attend_to_heard(self, hidden, name, index, with_cache):
        """Attention over the encoder's states; later steps find their keys and values in the cache."""
        attention = f"{name}/attention"
        query = self.split(self.linear(self.norm(hidden, attention), f"{attention}/linear_0"))
        if with_cache:
            past = f"past_key_values.{index}.encoder"
            key, value = f"{past}.key", f"{past}.value"
            # The cache stays as it is, and need not be copied: nothing is returned in its place.
            empty = helper.make_tensor("empty", TensorProto.FLOAT, [0, self.heads, 1, self.head_size], [])
            left = tuple(self.graph.node("Constant", value=empty) for _ in range(2))
        else:
            projected = self.linear("encoder_hidden_states", f"{attention}/linear_1")
            key, value = (self.split(part) for part in self.graph.split(projected, 2))
            left = key, value
        return self.add(hidden, self.attend(query, key, value), f"{attention}/linear_2"), left

    def own_projections(self, hidden, attention):
        """Query, key and value of one linear layer, each [b, h, t, k]."""
        return [self.split(part) for part in self.graph.split(self.linear(hidden, f"{attention}/linear_0"), 3)]

    def split(self, x):
        """Into heads: [b, t, d] -> [b, h, t, k]."""
        heads = self.graph.node("Reshape", x, self.graph.ints(0, -1, self.heads, self.head_size))
        return self.graph.node("Transpose", heads, perm=[0, 2, 1, 3])

    def attend(self, query, key, value, mask=None):
        """softmax(q k^T / sqrt(k) + mask) v: -> [b, t, d]."""
        graph = self.graph
        scaled = graph.node("Mul", query, graph.scalar(1 / math.sqrt(self.head_size)))
        scores = graph.node("MatMul", scaled, graph.node("Transpose", key, perm=[0, 1, 3, 2]))
        if mask:
            scores = graph.node("Add", scores, mask)
        context = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), value)
        context = graph.node("Transpose", context, perm=[0, 2, 1, 3])
        return graph.node("Reshape", context, graph.ints(0, -1, self.hidden_size))

    def feed_forward(self, hidden, name):
        """hidden + W1 gelu(W0 norm(hidden))."""
        inner = self.gelu(self.linear(self.norm(hidden, f"{name}/ffn"), f"{name}/ffn/linear_0"))
        return self.add(hidden, inner, f"{name}/ffn/linear_1")

    def add(self, hidden, x, name):
        """hidden + linear(x)."""
        return self.graph.node("Add", hidden, self.linear(x, name))

    def linear(self, x, name):
        """[..., m] -> [..., n] by a stored weight [n, m] and bias [n]."""
        product = self.graph.node("MatMul", x, self.weight(f"{name}/weight", transpose=True))
        return self.graph.node("Add", product, self.weight(f"{name}/bias"))

    def norm(self, x, name):
        """Layer normalisation over the last axis."""
        parameters = self.weight(f"{name}/layer_norm/gamma"), self.weight(f"{name}/layer_norm/beta")
        return self.graph.node("LayerNormalization", x, *parameters, axis=-1, epsilon=1e-5)

    def gelu(self, x):
        """Exact GELU, x (1 + erf(x / sqrt 2)) / 2."""
        graph = self.graph
        erf = graph.node("Erf", graph.node("Mul", x, graph.scalar(math.sqrt(0.5))))
        return graph.node("Mul", graph.node("Mul", x, graph.scalar(0.5)), graph.node("Add", erf, graph.scalar(1.0)))

    def weight(self, name, transpose=False):
        """Store the tensor `name`, transposed if asked; both branches share one."""
        array = self.weights[name]
        return self.graph.shared_weight(name + ("/transposed" if transpose else ""), array.T if transpose else array)
