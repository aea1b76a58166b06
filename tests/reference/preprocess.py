"""Picture to tensor, as the slow (Pillow and numpy) image processors of Hugging Face do it.

Decisions, each of which is a row's `note` in `pictures.parquet`:

- EXIF orientation is honoured (`ImageOps.exif_transpose`) before anything else. The Hugging Face processors
  leave this to the caller; Sensorium does it for JPEG, PNG, WebP and TIFF.
- Transparency is dropped, not blended: RGBA and LA keep the colour stored under transparent pixels, a palette
  gives its colours. This is what `convert("RGB")` does, and what transformers did for years; its release 5.23
  blends onto white instead.
- Grey, 1-bit, palette: `convert("RGB")`, exact.
- 16-bit grey (mode I;16) is scaled by `>> 8` first, because `convert("RGB")` of Pillow 13 clips it: every value
  above 255 would become white. Pillow's decoder already takes the high byte (`>> 8`) of 16-bit RGB(A) PNGs.
- CMYK: `convert("RGB")`, per channel (255 - c) * (255 - k) / 255 rounded, no colour profile. JPEGs with an
  Adobe marker store inverted CMYK; the decoder undoes it. ICC profiles and gamma chunks are ignored throughout.
- An animation gives its first frame.
- The short edge is resized to `shortest_edge`, the long one to `int(shortest_edge * long / short)`, always, also
  upwards; two 8-bit passes (horizontal, then vertical) with antialiasing, bicubic a = -0.5.
- The crop starts at `(size - crop) // 2`: rounded down, which differs from torchvision's `round` on odd margins.
- `pixel * rescale_factor` is rounded to float32, then `(pixel - mean) / std` in float32.
"""

import numpy as np
from PIL import Image, ImageOps


def to_rgb(image: Image.Image) -> Image.Image:
    """The first frame, upright, as 8-bit RGB."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


def resize_short_edge(image: Image.Image, target: int, resample: int) -> Image.Image:
    """The short edge becomes `target` pixels, the aspect ratio is kept."""
    width, height = image.size
    short, long = min(width, height), max(width, height)
    scaled = int(target * long / short)
    size = (target, scaled) if width <= height else (scaled, target)
    return image.resize(size, resample=resample)


def center_crop(image: Image.Image, width: int, height: int) -> Image.Image:
    """`width` x `height` out of the middle; the image is at least that large."""
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def pixel_values(image: Image.Image, config: dict) -> np.ndarray:
    """float32 `[3, height, width]` for a `preprocessor_config.json`."""
    image = resize_short_edge(to_rgb(image), config["size"]["shortest_edge"], config["resample"])
    image = center_crop(image, config["crop_size"]["width"], config["crop_size"]["height"])
    pixels = (np.asarray(image, np.float64) * config["rescale_factor"]).astype(np.float32)
    mean, std = np.float32(config["image_mean"]), np.float32(config["image_std"])
    return ((pixels - mean) / std).transpose(2, 0, 1)
