"""PNG files that Pillow cannot write: 16 bits per channel, and Adam7 interlacing."""

import struct
import zlib

import numpy as np

# Adam7: first column, first row, column step, row step of each pass.
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def chunk(kind: bytes, body: bytes) -> bytes:
    """Length, kind, body, checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def header(width: int, height: int, bits: int, colour: int, interlaced: bool) -> bytes:
    """Signature and IHDR."""
    ihdr = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr)


def scanlines(pixels: np.ndarray) -> bytes:
    """Rows of `[height, width, channels]` with the filter Sub (one byte, then differences to the left)."""
    raw = pixels.astype(pixels.dtype.newbyteorder(">")).view(np.uint8).reshape(*pixels.shape[:2], -1)
    left = np.zeros_like(raw)
    left[:, 1:] = raw[:, :-1]
    rows = (raw - left).reshape(len(raw), -1)
    return b"".join(b"\x01" + row.tobytes() for row in rows)


def encode(pixels: np.ndarray, interlaced: bool = False) -> bytes:
    """uint8 or uint16 `[height, width, channels]` (grey, grey+alpha, RGB, RGBA) as a PNG file."""
    height, width, channels = pixels.shape
    if interlaced:
        passes = [pixels[y::dy, x::dx] for x, y, dx, dy in ADAM7]
        data = b"".join(scanlines(np.ascontiguousarray(part)) for part in passes if part.size)
    else:
        data = scanlines(pixels)
    start = header(width, height, 8 * pixels.dtype.itemsize, COLOUR_TYPES[channels], interlaced)
    return start + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")
