"""`hostile/*`: files that must be refused, each for one reason.

truncated.jpg   the first half of a real JPEG
bomb.png        a valid PNG of 50,000 x 50,000 1-bit grey pixels: 2.5 GB once they are bytes
zero.jpg        no bytes
page.jpg        an HTML page
corrupt.onnx    random bytes
truncated.onnx  the first half of a valid model
outside.onnx    valid, but its weights are in `../secret.bin`, outside its folder
wrong_rows.onnx x f32[n, 1] -> y f32[n + 1, 1]: one row too many
some_rows.onnx  x f32[n, 1] -> y f32[min(n, 2), 1]: right for two rows at most
"""

import random
import zlib

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto
from PIL import Image

import png_writer
from graph import FLOAT, constant, model, node, value
from places import FIXTURES

FOLDER = FIXTURES / "hostile"
SIDE = 50_000
PAGE = b"<!DOCTYPE html>\n<html><head><title>404</title></head><body>Not found</body></html>\n"
X1 = value("x", FLOAT, "n", 1)


def bomb() -> bytes:
    """Every pixel black; deflate shrinks the 312.5 MB of scanlines about 1,030 times, its most."""
    compressor = zlib.compressobj(9)
    row = bytes(1 + SIDE // 8)
    body = b"".join(compressor.compress(row) for _ in range(SIDE)) + compressor.flush()
    chunk = png_writer.chunk
    return png_writer.header(SIDE, SIDE, 1, 0, False) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def outside() -> onnx.ModelProto:
    """y = x * w, where w is said to be in the parent folder."""
    weight = TensorProto(name="w", data_type=FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    for key, text in (("location", "../secret.bin"), ("offset", "0"), ("length", "4")):
        weight.external_data.add(key=key, value=text)
    made = model([node("Mul", "x w", "y")], [X1], [value("y", FLOAT, "n", 1)], [constant("w", [1])])
    made.graph.initializer[0].CopyFrom(weight)
    return made


def wrong_rows() -> onnx.ModelProto:
    """y = x with a zero appended below."""
    return model([node("Concat", "x extra", "y", axis=0)], [X1], [value("y", FLOAT, "m", 1)],
                 [constant("extra", [[0]])])


def some_rows() -> onnx.ModelProto:
    """y = the first two rows of x."""
    return model([node("Slice", "x start end", "y")], [X1], [value("y", FLOAT, "m", 1)],
                 [constant("start", [0], np.int64), constant("end", [2], np.int64)])


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    picture = (FIXTURES / "pictures" / "photo_coffee.jpg").read_bytes()
    sound = (FIXTURES / "tiny" / "two_outputs.onnx").read_bytes()
    contents = {
        "truncated.jpg": picture[: len(picture) // 2],
        "bomb.png": bomb(),
        "zero.jpg": b"",
        "page.jpg": PAGE,
        "corrupt.onnx": random.Random(0).randbytes(1000),
        "truncated.onnx": sound[: len(sound) // 2],
        "outside.onnx": outside().SerializeToString(),
        "wrong_rows.onnx": wrong_rows().SerializeToString(),
        "some_rows.onnx": some_rows().SerializeToString(),
    }
    for name, content in contents.items():
        (FOLDER / name).write_bytes(content)
        print(f"{name}: {len(content)} bytes")
    verify()


def verify() -> None:
    """The reference tools refuse what they must; `wrong_rows` really returns a row too many."""
    for name in ("corrupt.onnx", "truncated.onnx", "outside.onnx"):
        try:
            ort.InferenceSession(FOLDER / name, providers=["CPUExecutionProvider"])
        except Exception as error:
            print(f"{name}: {str(error).splitlines()[0]}")
        else:
            raise AssertionError(f"{name} loads")
    for name in ("truncated.jpg", "zero.jpg", "page.jpg", "bomb.png"):
        try:
            Image.open(FOLDER / name).load()
        except (OSError, Image.DecompressionBombError) as error:
            print(f"{name}: {error}")
        else:
            raise AssertionError(f"{name} opens")
    session = ort.InferenceSession(FOLDER / "wrong_rows.onnx", providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.ones((3, 1), np.float32)})[0].shape == (4, 1)
    session = ort.InferenceSession(FOLDER / "some_rows.onnx", providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.ones((3, 1), np.float32)})[0].shape == (2, 1)


if __name__ == "__main__":
    main()
