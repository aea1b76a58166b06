"""JPEG files: sampling, quality, progression, colour models, orientations, sizes."""

import io
from collections.abc import Iterator

from PIL import Image

from photographs import COLOUR, LICENCES, Picture, photograph, separated

Transpose = Image.Transpose
# How a picture is stored so that a viewer which honours the EXIF orientation shows it upright.
STORED = {
    1: None,
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_90,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_270,
}
SIZES = [(33, 57), (1, 1), (2, 3), (7, 400), (400, 7), (17, 16), (301, 299), (223, 225), (224, 224), (256, 256),
         (255, 257), (257, 500), (383, 256)]


def sideways(image: Image.Image, orientation: int) -> tuple[Image.Image, Image.Exif]:
    """The pixels as a camera held that way stores them, and the tag that undoes it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    method = STORED[orientation]
    return (image if method is None else image.transpose(method)), exif


def jpeg(file: str, note: str, image: Image.Image, source: str, **options) -> Picture:
    """One JPEG; the note gets the photograph's name and licence."""
    out = io.BytesIO()
    image.save(out, "JPEG", **options)
    return Picture(file, f"{note}; {source}, {LICENCES[source]}", out.getvalue())


def samplings() -> Iterator[Picture]:
    """Baseline and progressive files of every chroma sampling and quality."""
    for i, sampling in enumerate(["4:4:4", "4:2:2", "4:2:0"]):
        tag = sampling.replace(":", "")
        for j, quality in enumerate([30, 50, 75, 95]):
            source = COLOUR[(i + 2 * j) % 4]
            image = photograph(source, 320, 240)
            note = f"JPEG baseline {sampling} quality {quality}"
            yield jpeg(f"jpeg_{tag}_q{quality}.jpg", note, image, source, quality=quality, subsampling=sampling)
        source = COLOUR[i]
        options = {"quality": 75, "subsampling": sampling, "progressive": True}
        yield jpeg(f"jpeg_progressive_{tag}.jpg", f"JPEG progressive {sampling}", photograph(source, 341, 256),
                   source, **options)


def colour_models() -> Iterator[Picture]:
    """Grey, CMYK with an Adobe marker, RGB without YCbCr, restart markers."""
    coffee = photograph("coffee.png", 320, 214)
    for quality in (40, 85):
        yield jpeg(f"jpeg_grey_q{quality}.jpg", "JPEG grey", coffee.convert("L"), "coffee.png", quality=quality)
    yield jpeg("jpeg_grey_progressive.jpg", "JPEG grey progressive", photograph("chelsea.png", 300, 200).convert("L"),
               "chelsea.png", progressive=True)
    cmyk = "JPEG CMYK, Adobe, stored inverted; (255-c)*(255-k)/255"
    for source in ("coffee.png", "chelsea.png", "rocket.jpg"):
        image = separated(photograph(source, 280, 200))
        yield jpeg(f"jpeg_cmyk_{source.split('.')[0]}.jpg", cmyk, image, source, quality=85)
    yield jpeg("jpeg_rgb.jpg", "JPEG RGB, Adobe transform 0: no YCbCr", coffee, "coffee.png", quality=80, keep_rgb=True)
    yield jpeg("jpeg_restart.jpg", "JPEG with restart markers", coffee, "coffee.png", restart_marker_blocks=7)
    yield jpeg("jpeg_optimized.jpg", "JPEG with optimised Huffman tables", coffee, "coffee.png", optimize=True)


def orientations() -> Iterator[Picture]:
    """All eight: upright they are the same picture."""
    upright = photograph("coffee.png", 300, 200)
    for orientation in STORED:
        stored, exif = sideways(upright, orientation)
        yield jpeg(f"exif_{orientation}.jpg", f"EXIF orientation {orientation}, honoured", stored, "coffee.png",
                   exif=exif, quality=80)


def sizes() -> Iterator[Picture]:
    """Odd, tiny, extreme and large."""
    for i, (width, height) in enumerate(SIZES):
        source = COLOUR[i % 4]
        yield jpeg(f"size_{width}x{height}.jpg", f"{width}x{height}: int(256 * long / short), crop rounded down",
                   photograph(source, width, height), source, quality=80)
    for source, size in (("retina.jpg", (1200, 1600)), ("astronaut.png", (1600, 1200)), ("coffee.png", (1600, 1067))):
        yield jpeg(f"large_{source.split('.')[0]}.jpg", f"{size[0]}x{size[1]}: reduced with antialiasing",
                   photograph(source, *size), source, quality=15)


def photographs() -> Iterator[Picture]:
    """Every photograph once, as most users' files are."""
    for source in sorted(LICENCES):
        yield jpeg(f"photo_{source.split('.')[0]}.jpg", "JPEG, everyday", photograph(source, 360, 300), source,
                   quality=70)


def pictures() -> Iterator[Picture]:
    """Every JPEG fixture."""
    for group in (samplings, colour_models, orientations, sizes, photographs):
        yield from group()
