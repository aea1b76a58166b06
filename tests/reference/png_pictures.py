"""PNG files: depths, colour types, transparency, interlacing."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

import png_writer
from jpeg_pictures import sideways
from photographs import DATA, LICENCES, Picture, deep_colour, deep_grey, photograph, with_alpha

COFFEE = "coffee.png"
CAT = "chelsea.png"


def named(file: str, note: str, source: str, content: bytes) -> Picture:
    """The note gets the photograph's name and licence."""
    return Picture(file, f"{note}; {source}, {LICENCES[source]}", content)


def png(file: str, note: str, source: str, image: Image.Image, **options) -> Picture:
    """One PNG written by Pillow."""
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True, **options)
    return named(file, note, source, out.getvalue())


def colours() -> Iterator[Picture]:
    """8-bit colour and grey, orientation."""
    yield png("png_rgb.png", "PNG RGB 8", COFFEE, photograph(COFFEE, 180, 120))
    yield png("png_rgb_tall.png", "PNG RGB 8", "rocket.jpg", photograph("rocket.jpg", 90, 151))
    yield png("png_grey.png", "PNG grey 8", "camera.png", photograph("camera.png", 160, 160).convert("L"))
    yield png("png_grey_1bit.png", "PNG grey 1 bit", "camera.png", photograph("camera.png", 240, 240).convert("1"))
    stored, exif = sideways(photograph(COFFEE, 180, 120), 6)
    yield png("png_exif_6.png", "PNG eXIf orientation 6, honoured", COFFEE, stored, exif=exif)


def transparent() -> Iterator[Picture]:
    """Alpha is dropped: the colour under transparent pixels counts."""
    cup, cat = photograph(COFFEE, 150, 100), photograph(CAT, 150, 100)
    yield png("png_rgba.png", "PNG RGBA 8, alpha dropped", COFFEE, with_alpha(cup))
    with Image.open(DATA / "horse.png") as horse:
        yield png("png_rgba_cutout.png", "PNG RGBA 8, alpha dropped", "horse.png", horse.resize((200, 164)))
    yield png("png_grey_alpha.png", "PNG grey+alpha 8, alpha dropped", CAT, with_alpha(cat.convert("L")))
    yield png("png_rgb_key.png", "PNG RGB 8 with a transparent colour, ignored", CAT, cat,
              transparency=cat.getpixel((75, 50)))
    yield png("png_grey_key.png", "PNG grey 8 with a transparent level, ignored", CAT, cat.convert("L"),
              transparency=128)


def palettes() -> Iterator[Picture]:
    """Indexed colours of every depth, with and without transparency."""
    image = photograph(COFFEE, 240, 160)
    for colours in (256, 16, 4, 2):
        yield png(f"png_palette_{colours}.png", f"PNG palette of {colours}", COFFEE, image.quantize(colours))
    yield png("png_palette_transparent.png", "PNG palette, one transparent entry, its colour kept", COFFEE,
              image.quantize(64), transparency=5)
    yield png("png_palette_alpha.png", "PNG palette, alpha per entry, dropped", COFFEE, image.quantize(64),
              transparency=bytes(range(0, 256, 4)))


def deep() -> Iterator[Picture]:
    """16 bits per channel: `>> 8`."""
    cup, cat = deep_colour(COFFEE, 90, 60), deep_grey(CAT, 150, 100)
    alpha = np.broadcast_to(np.linspace(0, 65535, 90).astype(np.uint16)[None, :, None], (60, 90, 1))
    grey = "PNG grey 16, >> 8 (Pillow 13 would clip)"
    encode = png_writer.encode
    yield named("png_grey16.png", grey, CAT, encode(cat))
    yield named("png_grey16_interlaced.png", grey + ", Adam7", CAT, encode(cat, interlaced=True))
    yield named("png_rgb16.png", "PNG RGB 16, >> 8", COFFEE, encode(cup))
    yield named("png_rgba16.png", "PNG RGBA 16, >> 8, alpha dropped", COFFEE, encode(np.concatenate([cup, alpha], -1)))
    pair = np.concatenate([cat[:60, :90], alpha], -1)
    yield named("png_grey_alpha16.png", "PNG grey+alpha 16, >> 8, alpha dropped", CAT, encode(pair))


def interlaced() -> Iterator[Picture]:
    """Adam7 at 8 bits."""
    cup = np.asarray(photograph(COFFEE, 151, 99))
    yield named("png_interlaced_rgb.png", "PNG RGB 8, Adam7", COFFEE, png_writer.encode(cup, interlaced=True))
    cat = np.asarray(photograph(CAT, 163, 113).convert("L"))[..., None]
    yield named("png_interlaced_grey.png", "PNG grey 8, Adam7", CAT, png_writer.encode(cat, interlaced=True))


def pictures() -> Iterator[Picture]:
    """Every PNG fixture."""
    for group in (colours, transparent, palettes, deep, interlaced):
        yield from group()
