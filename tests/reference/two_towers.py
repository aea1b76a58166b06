"""A two-modality classifier in PyTorch, its ONNX export, and its own answers."""

from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from encoders import session

HIDDEN = 128
CLASSES = 2


class TwoTowers(nn.Module):
    """image `[n, image_size]` and text `[n, text_size]`, each Linear -> 128 and ReLU; joined; Linear -> 2 logits."""

    def __init__(self, image_size: int, text_size: int):
        super().__init__()
        self.image = nn.Sequential(nn.Linear(image_size, HIDDEN), nn.ReLU())
        self.text = nn.Sequential(nn.Linear(text_size, HIDDEN), nn.ReLU())
        self.head = nn.Linear(2 * HIDDEN, CLASSES)

    def forward(self, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """logits `[n, 2]`."""
        return self.head(torch.cat([self.image(image), self.text(text)], dim=1))


def seeded(image_size: int, text_size: int, seed: int, text_gain: float = 1.0) -> TwoTowers:
    """Untrained, the same at every call. One thread: sums are taken in the same order.

    `text_gain` multiplies the text tower's weights, so that unit vectors weigh as much as the picture;
    the head is multiplied by 8, so that logits spread far beyond any tolerance.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    net = TwoTowers(image_size, text_size).eval()
    with torch.no_grad():
        net.text[0].weight *= text_gain
        net.head.weight *= 8
    return net


def logits(net: TwoTowers, image: np.ndarray, text: np.ndarray) -> torch.Tensor:
    """PyTorch's answer for float32 `[n, image_size]` and `[n, text_size]`."""
    with torch.no_grad():
        return net(torch.from_numpy(image), torch.from_numpy(text))


def export(net: TwoTowers, path: Path) -> None:
    """One self-contained file: inputs `image` and `text`, output `logits`, any number of rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    example = torch.zeros(2, net.image[0].in_features), torch.zeros(2, net.text[0].in_features)
    rows = torch.export.Dim("batch")
    torch.onnx.export(net, example, path, dynamo=True, external_data=False, opset_version=18, verbose=False,
                      input_names=["image", "text"], output_names=["logits"],
                      dynamic_shapes={"image": {0: rows}, "text": {0: rows}})
    strip_traces(path)


def strip_traces(path: Path) -> None:
    """Remove the exporter's stack traces, which name files of the machine that ran it."""
    made = onnx.load(path)
    for item in [*made.graph.node, *made.graph.input, *made.graph.output, *made.graph.value_info,
                 *made.graph.initializer]:
        del item.metadata_props[:]
    del made.metadata_props[:], made.graph.metadata_props[:]
    onnx.save(made, path)


def check(path: Path, image: np.ndarray, text: np.ndarray, expected: np.ndarray) -> None:
    """ONNX Runtime agrees with PyTorch to 1e-5, on all rows and on one."""
    runtime = session(path)
    worst = 0
    for rows in (slice(None), slice(0, 1)):
        got = runtime.run(["logits"], {"image": image[rows], "text": text[rows]})[0]
        worst = max(worst, np.abs(got - expected[rows]).max())
    assert worst < 1e-5, (path, worst)
    print(f"{path.name}: {path.stat().st_size} bytes, ONNX Runtime within {worst:.1e} of PyTorch")
