"""A small builder for ONNX graphs, after the ONNX IR specification (onnx/docs/IR.md).

Values are named by strings: every method that adds something returns the name
under which later nodes can use it.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8


def int64_value(name, *shape):
    """Declare an int64 graph input or output; strings in `shape` are symbolic dimensions."""
    return helper.make_tensor_value_info(name, TensorProto.INT64, shape)


def float_value(name, *shape):
    """Declare a float32 graph input or output; strings in `shape` are symbolic dimensions."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


class Graph:
    """Collects nodes and stored tensors, and turns them into a checked model."""

    def __init__(self):
        self._nodes = []
        self._initializers = {}

    def node(self, op_type, *inputs, output=None, **attributes):
        """Add a node with one output and return that output's name."""
        output = output or f"{op_type}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op_type, inputs, [output], name=output, **attributes))
        return output

    def weight(self, name, array):
        """Store `array` as float32 under `name`; a name may be given only once."""
        if name in self._initializers:
            raise ValueError(f"weight {name} is stored twice")
        return self._store(name, np.asarray(array, np.float32))

    def ints(self, *values):
        """Return an int64[len(values)] constant: axes, a shape or slice bounds."""
        name = "ints_" + "_".join(map(str, values))
        return self._store(name, np.array(values, np.int64))

    def scalar(self, value):
        """Return a float32 constant of shape []."""
        return self._store(f"scalar_{value!r}", np.array(value, np.float32))

    def build(self, name, inputs, outputs):
        """Return the whole graph as a ModelProto that has passed onnx.checker."""
        initializers = list(self._initializers.values())
        graph = helper.make_graph(self._nodes, name, inputs, outputs, initializers)
        model = helper.make_model(
            graph,
            producer_name="sensorium",
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        onnx.checker.check_model(model, full_check=True)
        return model

    def _store(self, name, array):
        if name not in self._initializers:
            # A transposed view must be laid out in row-major order before it is written.
            array = np.asarray(array, order="C")
            self._initializers[name] = numpy_helper.from_array(array, name)
        return name
