"""WebP, GIF, BMP and TIFF files."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

from jpeg_pictures import sideways
from photographs import LICENCES, Picture, deep_grey, photograph, separated, with_alpha

COFFEE = "coffee.png"
CAT = "chelsea.png"


def saved(file: str, note: str, source: str, image: Image.Image, **options) -> Picture:
    """One file in the format that its extension names."""
    out = io.BytesIO()
    image.save(out, Image.registered_extensions()["." + file.rsplit(".")[-1]], **options)
    return Picture(file, f"{note}; {source}, {LICENCES[source]}", out.getvalue())


def webp() -> Iterator[Picture]:
    """Lossy, lossless, transparent, animated, turned."""
    image, small = photograph(COFFEE, 301, 201), photograph(CAT, 150, 100)
    for quality in (30, 80, 95):
        yield saved(f"webp_q{quality}.webp", f"WebP lossy quality {quality}", COFFEE, image, quality=quality)
    yield saved("webp_lossless.webp", "WebP lossless", CAT, small, lossless=True)
    alpha = with_alpha(small)
    yield saved("webp_alpha.webp", "WebP lossy with alpha, dropped", CAT, alpha, quality=80, exact=True)
    yield saved("webp_lossless_alpha.webp", "WebP lossless with alpha, dropped", CAT, alpha, lossless=True, exact=True)
    yield saved("webp_animated.webp", "WebP animated: first frame", CAT, small, save_all=True, quality=60,
                append_images=[photograph(COFFEE, 150, 100)], duration=100)
    stored, exif = sideways(image, 8)
    yield saved("webp_exif_8.webp", "WebP EXIF orientation 8, honoured", COFFEE, stored, exif=exif, quality=70)


def gif() -> Iterator[Picture]:
    """Static, interlaced, transparent, grey, animated."""
    image = photograph(COFFEE, 200, 133)
    indexed = image.quantize(128)
    yield saved("gif_plain.gif", "GIF", COFFEE, indexed, interlace=0)
    yield saved("gif_interlaced.gif", "GIF interlaced", COFFEE, indexed, interlace=1)
    yield saved("gif_transparent.gif", "GIF with a transparent entry, its colour kept", COFFEE, indexed,
                transparency=7)
    yield saved("gif_grey.gif", "GIF grey", CAT, photograph(CAT, 150, 100).convert("L"))
    frames = [photograph(name, 120, 80).quantize(64) for name in (CAT, COFFEE, "rocket.jpg")]
    yield saved("gif_animated.gif", "GIF animated: first frame", CAT, frames[0], save_all=True,
                append_images=frames[1:], duration=100, loop=0)


def bmp() -> Iterator[Picture]:
    """24, 8 and 1 bit."""
    image = photograph(COFFEE, 121, 81)
    yield saved("bmp_24.bmp", "BMP 24 bit, rows padded", COFFEE, image)
    yield saved("bmp_8.bmp", "BMP 8 bit palette", COFFEE, image.quantize(200))
    yield saved("bmp_grey.bmp", "BMP 8 bit grey", COFFEE, image.convert("L"))
    yield saved("bmp_1.bmp", "BMP 1 bit", COFFEE, photograph(COFFEE, 301, 201).convert("1"))


def tiff() -> Iterator[Picture]:
    """Compressions, depths, colour models, pages, orientation."""
    image = photograph(COFFEE, 121, 81)
    for name, compression in (("raw", None), ("lzw", "tiff_lzw"), ("deflate", "tiff_adobe_deflate"),
                              ("packbits", "packbits")):
        yield saved(f"tiff_{name}.tif", f"TIFF RGB 8, {name}", COFFEE, image, compression=compression)
    yield saved("tiff_grey.tif", "TIFF grey 8", COFFEE, image.convert("L"))
    deep = Image.fromarray(deep_grey(CAT, 150, 100)[..., 0])
    yield saved("tiff_grey16.tif", "TIFF grey 16, >> 8 (Pillow 13 would clip)", CAT, deep)
    big = Image.fromarray(np.asarray(deep).astype(">u2"))
    yield saved("tiff_grey16_big_endian.tif", "TIFF grey 16 big-endian, >> 8 (Pillow 13 would clip)", CAT, big)
    yield saved("tiff_cmyk.tif", "TIFF CMYK; (255-c)*(255-k)/255", COFFEE, separated(image))
    yield saved("tiff_rgba.tif", "TIFF RGBA 8, alpha dropped", COFFEE, with_alpha(image), compression="tiff_lzw")
    yield saved("tiff_pages.tif", "TIFF of two pages: the first", CAT, photograph(CAT, 90, 60), save_all=True,
                append_images=[photograph(COFFEE, 90, 60)], compression="tiff_lzw")
    stored, exif = sideways(image, 6)
    yield saved("tiff_orientation_6.tif", "TIFF orientation 6, honoured", COFFEE, stored, exif=exif,
                compression="tiff_lzw")


def pictures() -> Iterator[Picture]:
    """Every other fixture."""
    for group in (webp, gif, bmp, tiff):
        yield from group()
