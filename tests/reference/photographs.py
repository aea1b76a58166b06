"""The photographs behind the picture fixtures, out of scikit-image, all public domain or CC0.

The licence of each is the statement of its docstring in `skimage.data` (0.26).
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import skimage
from PIL import Image

DATA = Path(skimage.__file__).parent / "data"
LICENCES = {
    "astronaut.png": "public domain (NASA)",
    "brick.png": "CC0 (CC0Textures)",
    "camera.png": "CC0 (Lav Varshney)",
    "chelsea.png": "CC0 (Stefan van der Walt)",
    "clock_motion.png": "public domain (Stefan van der Walt)",
    "coffee.png": "CC0 (Rachel Michetti)",
    "grass.png": "CC0 (CC0Textures)",
    "gravel.png": "CC0 (CC0Textures)",
    "horse.png": "CC0 (Andreas Preuss)",
    "hubble_deep_field.jpg": "public domain (NASA)",
    "retina.jpg": "CC0 (Häggström)",
    "rocket.jpg": "public domain (SpaceX)",
}
COLOUR = ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg", "retina.jpg"]


class Picture(NamedTuple):
    """One file to commit: its name, what it tests and what it shows, its bytes."""

    file: str
    note: str
    content: bytes


def photograph(name: str, width: int, height: int) -> Image.Image:
    """A colour photograph resized to exactly this size (the aspect ratio may change)."""
    with Image.open(DATA / name) as image:
        return image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def deep_grey(name: str, width: int, height: int) -> np.ndarray:
    """uint16 `[height, width, 1]` whose low bytes carry information too."""
    with Image.open(DATA / name) as image:
        smooth = image.convert("L").convert("F").resize((width, height), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(smooth) * 257, 0, 65535).astype(np.uint16)[..., None]


def deep_colour(name: str, width: int, height: int) -> np.ndarray:
    """uint16 `[height, width, 3]` whose low bytes carry information too."""
    with Image.open(DATA / name) as image:
        bands = [band.convert("F").resize((width, height), Image.Resampling.BICUBIC) for band in image.split()]
    return np.stack([np.clip(np.asarray(b) * 257, 0, 65535).astype(np.uint16) for b in bands], axis=-1)


def alpha_ramp(width: int, height: int) -> Image.Image:
    """Transparent on the left, opaque on the right."""
    ramp = np.linspace(0, 255, width).astype(np.uint8)
    return Image.fromarray(np.tile(ramp, (height, 1)))


def with_alpha(image: Image.Image) -> Image.Image:
    """The same colours (L or RGB) under a ramp of transparency."""
    image = image.copy()
    image.putalpha(alpha_ramp(*image.size))
    return image


def separated(image: Image.Image) -> Image.Image:
    """CMYK with a real black channel (full grey-component replacement)."""
    cmy = 255 - np.asarray(image, np.int32)
    black = cmy.min(axis=-1, keepdims=True)
    colour = np.where(black < 255, (cmy - black) * 255 // np.maximum(255 - black, 1), 0)
    return Image.fromarray(np.concatenate([colour, black], axis=-1).astype(np.uint8), "CMYK")
