"""`tiny/*.onnx`: models whose answers a person can compute, and `tiny/answers.json`, computed by one.

`answers.json` maps a model to `{"inputs": {name: rows}, "outputs": {name: rows}}`; this script checks that
ONNX Runtime gives these answers.
"""

import json

import numpy as np
import onnx
import onnxruntime as ort

from graph import BOOL, DOUBLE, FLOAT, INT64, STRING, constant, model, node, value
from places import FIXTURES

X1, X2, Y1 = value("x", FLOAT, "n", 1), value("x", FLOAT, "n", 2), value("y", FLOAT, "n", 1)
TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(bool)": bool, "tensor(string)": object}


def add() -> onnx.ModelProto:
    """sum = a + b, vectors without a feature axis."""
    inputs = [value("a", FLOAT, "n"), value("b", FLOAT, "n")]
    return model([node("Add", "a b", "sum")], inputs, [value("sum", FLOAT, "n")])


def affine() -> onnx.ModelProto:
    """y = 2 x0 + 3 x1 + 1."""
    return model([node("Gemm", "x w c", "y")], [X2], [Y1], [constant("w", [[2], [3]]), constant("c", [1])])


def negative() -> onnx.ModelProto:
    """y = -(2 x0 + 3 x1 + 1), with a heavier graph than `affine`, so that it counts as the more expensive one."""
    nodes = [node("Gemm", "x w c", "z"), node("Mul", "ballast nothing", "zeros"), node("ReduceSum", "zeros", "zero", keepdims=0),
             node("Sub", "zero z", "y")]
    constants = [constant("w", [[2], [3]]), constant("c", [1]), constant("ballast", np.zeros(500)), constant("nothing", 0)]
    return model(nodes, [X2], [Y1], constants)


def text_length() -> onnx.ModelProto:
    """y = 1 for every text, however long."""
    nodes = [node("Shape", "x", "shape"), node("ConstantOfShape", "shape", "y", value=onnx.helper.make_tensor("one", FLOAT, [1], [1.0]))]
    return model(nodes, [value("x", STRING, "n", 1)], [Y1])


def two_outputs() -> onnx.ModelProto:
    """double f32[n, 1] = 2 x; round int64[n] = x to the nearest whole number, halves to even."""
    nodes = [
        node("Mul", "x two", "double"),
        node("Round", "x", "near"),
        node("Cast", "near", "whole", to=INT64),
        node("Squeeze", "whole axis", "round"),
    ]
    outputs = [value("double", FLOAT, "n", 1), value("round", INT64, "n")]
    return model(nodes, [X1], outputs, [constant("two", 2), constant("axis", [1], np.int64)])


def text_output() -> onnx.ModelProto:
    """text = the digits of the whole number x."""
    outputs = [value("text", STRING, "n", 1)]
    return model([node("Cast", "x", "text", to=STRING)], [value("x", INT64, "n", 1)], outputs)


def classifier(labels: list) -> onnx.ModelProto:
    """label = labels[1] if x > 0 else labels[0]; probabilities = (1 - sigmoid(x), sigmoid(x))."""
    kind, dtype = (STRING, object) if isinstance(labels[0], str) else (INT64, np.int64)
    nodes = [
        node("Sigmoid", "x", "p1"),
        node("Sub", "one p1", "p0"),
        node("Concat", "p0 p1", "probabilities", axis=1),
        node("ArgMax", "probabilities", "index", axis=1, keepdims=0),
        node("Gather", "labels index", "label"),
    ]
    outputs = [value("label", kind, "n"), value("probabilities", FLOAT, "n", 2)]
    return model(nodes, [X1], outputs, [constant("one", 1), constant("labels", labels, dtype)])


def optional() -> onnx.ModelProto:
    """y = 2 x where x_present, else -1."""
    nodes = [node("Mul", "x two", "double"), node("Where", "x_present double missing", "y")]
    return model(nodes, [X1, value("x_present", BOOL, "n", 1)], [Y1], [constant("two", 2), constant("missing", -1)])


def optional_mask() -> onnx.ModelProto:
    """The same with a mask of floats: 1 present, 0 missing."""
    nodes = [
        node("Mul", "x two", "double"),
        node("Cast", "x_mask", "present", to=BOOL),
        node("Where", "present double missing", "y"),
    ]
    return model(nodes, [X1, value("x_mask", FLOAT, "n", 1)], [Y1], [constant("two", 2), constant("missing", -1)])


def mixed() -> onnx.ModelProto:
    """y = 100 a + b: a whole number and a float."""
    nodes = [node("Cast", "a", "af", to=FLOAT), node("Mul", "af hundred", "am"), node("Add", "am b", "y")]
    return model(nodes, [value("a", INT64, "n", 1), value("b", FLOAT, "n", 1)], [Y1], [constant("hundred", 100)])


def batch_rows() -> onnx.ModelProto:
    """y = the number of rows the model was given at once: shows how a column was cut into batches."""
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape zero", "rows"),
        node("Cast", "rows", "count", to=FLOAT),
        node("Mul", "x nothing", "zeros"),
        node("Add", "zeros count", "y"),
    ]
    return model(nodes, [X1], [Y1], [constant("zero", 0, np.int64), constant("nothing", 0)])


def fixed_batch() -> onnx.ModelProto:
    """y = x, for exactly four rows."""
    return model([node("Identity", "x", "y")], [value("x", FLOAT, 4, 1)], [value("y", FLOAT, 4, 1)])


def doubles() -> onnx.ModelProto:
    """embedding f64[n, 2] = (x, -x) in double precision."""
    nodes = [node("Cast", "x", "wide", to=DOUBLE), node("Neg", "wide", "other"), node("Concat", "wide other", "embedding", axis=1)]
    return model(nodes, [X1], [value("embedding", DOUBLE, "n", 2)])


def absent_vector() -> onnx.ModelProto:
    """y = x + v0 + 2 v1 where has_v, else x - 1: a head beside an encoder that may have nothing to encode."""
    nodes = [
        node("MatMul", "v weights", "sum"),
        node("Where", "has_v sum missing", "part"),
        node("Add", "x part", "y"),
    ]
    inputs = [X1, value("v", FLOAT, "n", 2), value("has_v", BOOL, "n", 1)]
    return model(nodes, inputs, [Y1], [constant("weights", [[1], [2]]), constant("missing", -1)])


def grey_parts() -> onnx.ModelProto:
    """parts f32[n, 48] = the pixels of a grey picture of 8 by 6, row by row."""
    inputs = [value("picture", FLOAT, "n", 1, 6, 8)]
    return model([node("Flatten", "picture", "parts", axis=1)], inputs, [value("parts", FLOAT, "n", 48)])


def absent(*shape) -> onnx.ModelProto:
    """y = the sum of x, of any shape, where present, else -1: a medium that may not be there."""
    nodes = [node("Flatten", "x", "flat", axis=1), node("ReduceSum", "flat axis", "sum", keepdims=1),
             node("Where", "present sum missing", "y")]
    inputs = [value("x", FLOAT, "n", *shape), value("present", BOOL, "n", 1)]
    return model(nodes, inputs, [Y1], [constant("axis", [1], np.int64), constant("missing", -1)])


def answer(inputs: dict, **outputs) -> dict:
    """One entry of `answers.json`."""
    return {"inputs": inputs, "outputs": outputs}


LOGITS = {"x": [[0.0], [2.0], [-1.0]]}
HALVES = [[0.5, 0.5], [0.11920292, 0.88079708], [0.73105858, 0.26894142]]
MODELS = {
    "add": (add(), answer({"a": [1, 2.5], "b": [10, -2.5]}, sum=[11, 0])),
    "affine": (affine(), answer({"x": [[0, 0], [1, 1], [-1, 2]]}, y=[[1], [6], [5]])),
    "negative": (negative(), answer({"x": [[0, 0], [1, 1], [-1, 2]]}, y=[[-1], [-6], [-5]])),
    "text_length": (text_length(), answer({"x": [["a"], ["bb"]]}, y=[[1], [1]])),
    "two_outputs": (two_outputs(), answer({"x": [[1.4], [2.5], [-3.6]]}, double=[[2.8], [5], [-7.2]],
                                          round=[1, 2, -4])),
    "text_output": (text_output(), answer({"x": [[7], [-12]]}, text=[["7"], ["-12"]])),
    "int_label": (classifier([10, 20]), answer(LOGITS, label=[10, 20, 10], probabilities=HALVES)),
    "text_label": (classifier(["bad", "good"]), answer(LOGITS, label=["bad", "good", "bad"], probabilities=HALVES)),
    "optional": (optional(), answer({"x": [[3], [3]], "x_present": [[True], [False]]}, y=[[6], [-1]])),
    "optional_mask": (optional_mask(), answer({"x": [[3], [3]], "x_mask": [[1], [0]]}, y=[[6], [-1]])),
    "mixed": (mixed(), answer({"a": [[1], [2]], "b": [[0.5], [-1]]}, y=[[100.5], [199]])),
    "batch_rows": (batch_rows(), answer({"x": [[9], [9], [9]]}, y=[[3], [3], [3]])),
    "doubles": (doubles(), answer({"x": [[1], [-2]]}, embedding=[[1, -1], [-2, 2]])),
    "absent_vector": (absent_vector(), answer({"x": [[1], [1]], "v": [[1, 2], [1, 2]], "has_v": [[True], [False]]}, y=[[6], [0]])),
    "grey_parts": (grey_parts(), answer({"picture": [[[list(range(8))] * 6]]}, parts=[list(range(8)) * 6])),
    "absent_series": (absent(4), answer({"x": [[1, 2, 3, 4]] * 2, "present": [[True], [False]]}, y=[[10], [-1]])),
    "absent_sound": (absent("samples"), answer({"x": [[1, 2]] * 2, "present": [[True], [False]]}, y=[[3], [-1]])),
    "absent_video": (absent(2, 3, 1, 1), answer({"x": [[[[[1]]] * 3] * 2] * 2, "present": [[True], [False]]}, y=[[6], [-1]])),
    "fixed_batch": (fixed_batch(), answer({"x": [[1], [2], [3], [4]]}, y=[[1], [2], [3], [4]])),
}


def check(path: str, expected: dict) -> None:
    """ONNX Runtime gives the expected answers."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    feed = {i.name: np.array(expected["inputs"][i.name], TYPES[i.type]) for i in session.get_inputs()}
    names = [o.name for o in session.get_outputs()]
    assert names == list(expected["outputs"]), path
    for name, got in zip(names, session.run(None, feed)):
        want = np.array(expected["outputs"][name])
        same = np.allclose(got, want, atol=1e-6) if want.dtype.kind in "fi" else (got == want).all()
        assert same and got.shape == want.shape, (path, name, got)


def main() -> None:
    folder = FIXTURES / "tiny"
    folder.mkdir(parents=True, exist_ok=True)
    for name, (made, expected) in MODELS.items():
        onnx.save(made, folder / f"{name}.onnx")
        check(folder / f"{name}.onnx", expected)
    lines = [f"  {json.dumps(name)}: {json.dumps(expected)}" for name, (_, expected) in MODELS.items()]
    (folder / "answers.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"tiny: {len(MODELS)} models agree with answers.json")


if __name__ == "__main__":
    main()
