"""The EfficientNet-Lite0 image classifier as ONNX, from a PyTorch checkpoint and without PyTorch.

Architecture: EfficientNet-B0 (Tan and Le, 2019, https://arxiv.org/abs/1905.11946) changed as in
tensorflow/tpu models/official/efficientnet/lite: no squeeze-and-excitation, ReLU6 for swish.
Weight names are those of lukemelas/EfficientNet-PyTorch.

Shape letters: b batch, c channels, i and o input and output channels, n height and width.
"""

from typing import NamedTuple

import numpy as np

from graph import Graph, float_value
from torch_checkpoint import load_checkpoint

IMAGE_SIZE = 224
CLASSES = 1000
EMBEDDING_SIZE = 1280
BATCH_NORM_EPSILON = 1e-3


class Stage(NamedTuple):
    """A row of the paper's table 1; only the first block of a stage has its stride."""

    blocks: int
    stride: int
    expansion: int


STAGES = (
    Stage(blocks=1, stride=1, expansion=1),
    Stage(blocks=2, stride=2, expansion=6),
    Stage(blocks=2, stride=2, expansion=6),
    Stage(blocks=3, stride=2, expansion=6),
    Stage(blocks=3, stride=1, expansion=6),
    Stage(blocks=4, stride=2, expansion=6),
    Stage(blocks=1, stride=1, expansion=6),
)


def convert(checkpoint_path):
    """Read the checkpoint; return the classifier's ModelProto.

    pixel_values: float32[b, 3, 224, 224] -> logits: float32[b, 1000], embedding: float32[b, 1280]
    """
    network = EfficientNetLite(load_checkpoint(checkpoint_path))
    network.head(network.features("pixel_values"))
    pixels = float_value("pixel_values", "batch", 3, IMAGE_SIZE, IMAGE_SIZE)
    logits = float_value("logits", "batch", CLASSES)
    embedding = float_value("embedding", "batch", EMBEDDING_SIZE)
    return network.graph.build("efficientnet_lite0", [pixels], [logits, embedding])


class EfficientNetLite:
    """Writes the network; `weights` maps the checkpoint's names to arrays."""

    def __init__(self, weights):
        self.graph = Graph()
        self.weights = weights

    def features(self, x):
        """Stem and all stages: [b, 3, 224, 224] -> [b, 320, 7, 7]."""
        x = self.relu6(self.conv(x, "_conv_stem", "_bn0", stride=2))
        index = 0
        for stage in STAGES:
            for position in range(stage.blocks):
                stride = stage.stride if position == 0 else 1
                y = self.block(x, f"_blocks.{index}", stride, stage.expansion)
                x = y if position == 0 else self.graph.node("Add", y, x)
                index += 1
        return x

    def block(self, x, name, stride, expansion):
        """Inverted residual block (MBConv) less its skip.

        [b, i, n, n] -> [b, o, n / stride, n / stride]
        """
        if expansion > 1:
            x = self.relu6(self.conv(x, f"{name}._expand_conv", f"{name}._bn0"))
        x = self.conv(x, f"{name}._depthwise_conv", f"{name}._bn1", stride, depthwise=True)
        x = self.relu6(x)
        return self.conv(x, f"{name}._project_conv", f"{name}._bn2")

    def head(self, x):
        """Pooled features and class scores.

        [b, 320, 7, 7] -> embedding: [b, 1280], logits: [b, 1000]
        """
        x = self.relu6(self.conv(x, "_conv_head", "_bn1"))
        pooled = self.graph.node("GlobalAveragePool", x)
        embedding = self.graph.node("Flatten", pooled, axis=1, output="embedding")
        weight = self.graph.weight("_fc.weight", self.weights["_fc.weight"])
        bias = self.graph.weight("_fc.bias", self.weights["_fc.bias"])
        self.graph.node("Gemm", embedding, weight, bias, transB=1, output="logits")

    def conv(self, x, name, norm, stride=1, depthwise=False):
        """Convolution with TensorFlow's "same" padding and the batch norm folded into it.

        [b, i, n, n] -> [b, o, n / stride, n / stride], by a kernel [o, i, k, k], or [c, 1, k, k]
        if depthwise. norm(w * x) equals (g w) * x + (beta - g mean), where
        g = gamma / sqrt(variance + epsilon).
        """
        gamma, beta, mean, variance = (
            self.weights[f"{norm}.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
        kernel = self.weights[f"{name}.weight"] * scale[:, None, None, None]
        return self.graph.node(
            "Conv",
            x,
            self.graph.weight(f"{name}.weight", kernel),
            self.graph.weight(f"{name}.bias", beta - mean * scale),
            auto_pad="SAME_UPPER",
            group=len(kernel) if depthwise else 1,
            kernel_shape=kernel.shape[2:],
            strides=[stride, stride],
        )

    def relu6(self, x):
        """min(max(x, 0), 6), in TensorFlow Lite's naming; keeps the shape."""
        return self.graph.node("Clip", x, self.graph.scalar(0.0), self.graph.scalar(6.0))
