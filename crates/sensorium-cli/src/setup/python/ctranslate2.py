"""Reads the weights of a CTranslate2 model.

Format: CTranslate2's python/ctranslate2/specs/model_spec.py, `Model._serialize_to`, little-endian throughout.
"""

import struct

import numpy as np

# Numbers of element types in the file.
TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
VERSION = 6


def read(path):
    """Return all variables of `model.bin` by name, 16-bit floats widened to float32."""
    reader = _Reader(path.read_bytes())
    version = reader.number("I")
    if version > VERSION:
        raise ValueError(f"{path}: version {version} of the format")
    reader.string()  # name of the model's specification
    reader.number("I")  # its revision
    variables = dict(reader.variable() for _ in range(reader.number("I")))
    for _ in range(reader.number("I")):
        alias = reader.string()
        variables[alias] = variables[reader.string()]
    return variables


class _Reader:
    """A place in the bytes of a file."""

    def __init__(self, data):
        self.data = data
        self.place = 0

    def number(self, code):
        (value,) = struct.unpack_from(f"<{code}", self.data, self.place)
        self.place += struct.calcsize(f"<{code}")
        return value

    def string(self):
        """Length with the zero at the end, then the text."""
        length = self.number("H")
        text = self.data[self.place : self.place + length - 1].decode()
        self.place += length
        return text

    def variable(self):
        """Name, shape, element type, number of bytes, bytes."""
        name = self.string()
        shape = [self.number("I") for _ in range(self.number("B"))]
        element = np.dtype(TYPES[self.number("B")])
        size = self.number("I")
        values = np.frombuffer(self.data, element, size // element.itemsize, self.place).reshape(shape)
        self.place += size
        return name, values.astype(np.float32) if element == np.float16 else values
