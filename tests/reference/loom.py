"""`../../examples/models/loom/`: whether a machine shakes, from 64 readings of a sensor.

A worn bearing shakes a machine at a faster pace than it works at. After each window has been brought to mean 0 and variance 1,
the mean square of the steps from one reading to the next is 2 (1 - cos w) for a pace of w radians a reading; the model is a
sigmoid around 0.6 of it, which is 0.8 radians. Nothing is trained.
"""

import numpy as np
import onnx
import onnxruntime as ort

from graph import FLOAT, constant, model, node, value
from places import EXAMPLES

STEPS, MIDDLE, STEEPNESS = 64, 0.6, 8.0


def loom() -> onnx.ModelProto:
    """worn f32[n, 1] = sigmoid(8 (mean of squared steps - 0.6))."""
    nodes = [
        node("Slice", "readings one end axis", "later"),
        node("Slice", "readings zero last axis", "earlier"),
        node("Sub", "later earlier", "steps"),
        node("Mul", "steps steps", "squares"),
        node("ReduceMean", "squares", "roughness", axes=[1], keepdims=1),
        node("Sub", "roughness middle", "distance"),
        node("Mul", "distance steepness", "logit"),
        node("Sigmoid", "logit", "worn"),
    ]
    places = {"one": 1, "end": STEPS, "zero": 0, "last": STEPS - 1, "axis": 1}
    constants = [constant(name, [place], np.int64) for name, place in places.items()]
    constants += [constant("middle", MIDDLE), constant("steepness", STEEPNESS)]
    return model(nodes, [value("readings", FLOAT, "n", STEPS)], [value("worn", FLOAT, "n", 1)], constants)


def main() -> None:
    folder = EXAMPLES / "models" / "loom"
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(loom(), folder / "model.onnx")
    session = ort.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    for pace, is_worn in ((0.3, False), (2.0, True)):
        readings = (np.sqrt(2) * np.sin(np.arange(STEPS) * pace)).astype(np.float32)[None]
        assert (session.run(None, {"readings": readings})[0][0, 0] > 0.5) == is_worn
    print("loom: slow is calm, fast is worn")


if __name__ == "__main__":
    main()
