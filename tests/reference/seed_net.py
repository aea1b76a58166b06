"""`seed_net/`: a PyTorch classifier over ready-made vectors; `fused/`: the same behind the pretrained encoders.

seed_net/model.onnx         image f32[n, 256], text f32[n, 300] -> logits f32[n, 2]
seed_net/reference.parquet  200 rows: `image` float32[256], `text` float32[300], `logits` float32[2],
                            `probability` float32[2] (softmax), all by PyTorch on random vectors
fused/head.onnx             image f32[n, 1280], text f32[n, 384] -> logits f32[n, 2]
fused/reference.parquet     30 rows: `photo` (a file of `pictures/`), `note` (a text of `minilm_texts.parquet`),
                            `logits` float32[2]: EfficientNet embedding and MiniLM sentence embedding, then PyTorch
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

import two_towers
from columns import fixed_list, write
from encoders import ImageEncoder, TextEncoder
from places import FIXTURES, models_folder

SEED_ROWS, FUSED_ROWS = 200, 30
IMAGE_SIZE, TEXT_SIZE = 256, 300
IMAGE_EMBEDDING, TEXT_EMBEDDING = 1280, 384


def seed_net(folder: Path) -> None:
    """Random vectors in, PyTorch's logits and probabilities out."""
    rng = np.random.default_rng(0)
    image = rng.standard_normal((SEED_ROWS, IMAGE_SIZE), np.float32)
    text = rng.standard_normal((SEED_ROWS, TEXT_SIZE), np.float32)
    net = two_towers.seeded(IMAGE_SIZE, TEXT_SIZE, seed=0)
    two_towers.export(net, folder / "model.onnx")
    logits = two_towers.logits(net, image, text)
    two_towers.check(folder / "model.onnx", image, text, logits.numpy())
    write(
        folder / "reference.parquet",
        image=fixed_list(image, np.float32),
        text=fixed_list(text, np.float32),
        logits=fixed_list(logits.numpy(), np.float32),
        probability=fixed_list(torch.softmax(logits, dim=1).numpy(), np.float32),
    )


def fused_rows() -> tuple[list[str], list[str]]:
    """Pictures of every format and texts of many languages, evenly spaced in their files."""
    photos = [f for f in pq.read_table(FIXTURES / "pictures.parquet")["file"].to_pylist() if "/" not in f]
    notes = [t for t in pq.read_table(FIXTURES / "minilm_texts.parquet")["text"].to_pylist() if 20 < len(t) < 400]
    spaced = [np.linspace(0, len(items) - 1, FUSED_ROWS).astype(int) for items in (photos, notes)]
    return [photos[i] for i in spaced[0]], [notes[i] for i in spaced[1]]


def fused(folder: Path, models: Path) -> None:
    """Pictures and texts in, the logits of the whole chain out."""
    photos, notes = fused_rows()
    pictures = ImageEncoder(models / "efficientnet-lite0")
    image = np.stack([pictures.run("embedding", FIXTURES / "pictures" / photo) for photo in photos])
    text = TextEncoder(models / "minilm").embed(notes).astype(np.float32)
    assert image.shape[1] == IMAGE_EMBEDDING and text.shape[1] == TEXT_EMBEDDING
    net = two_towers.seeded(IMAGE_EMBEDDING, TEXT_EMBEDDING, seed=1, text_gain=TEXT_EMBEDDING**0.5)
    two_towers.export(net, folder / "head.onnx")
    logits = two_towers.logits(net, image, text).numpy()
    two_towers.check(folder / "head.onnx", image, text, logits)
    write(
        folder / "reference.parquet",
        photo=pa.array(photos),
        note=pa.array(notes),
        logits=fixed_list(logits, np.float32),
    )


def main() -> None:
    models = models_folder(__doc__)
    seed_net(FIXTURES / "seed_net")
    fused(FIXTURES / "fused", models)


if __name__ == "__main__":
    main()
