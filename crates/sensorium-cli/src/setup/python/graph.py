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


def bool_value(name, *shape):
    """Declare a bool graph input; strings in `shape` are symbolic dimensions."""
    return helper.make_tensor_value_info(name, TensorProto.BOOL, shape)


class Graph:
    """Collects nodes and stored tensors, and turns them into a checked model."""

    def __init__(self, prefix="", initializers=None):
        self._prefix = prefix
        self._nodes = []
        self._initializers = {} if initializers is None else initializers

    def node(self, op_type, *inputs, output=None, **attributes):
        """Add a node with one output and return that output's name."""
        output = output or f"{self._prefix}{op_type}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op_type, inputs, [output], name=output, **attributes))
        return output

    def split(self, x, parts):
        """Cut the last axis of `x` into equal parts and return their names."""
        name = f"{self._prefix}Split_{len(self._nodes)}"
        outputs = [f"{name}_{part}" for part in range(parts)]
        self._nodes.append(helper.make_node("Split", [x], outputs, name=name, axis=-1))
        return outputs

    def branch(self, prefix):
        """A graph for one branch of a condition, whose stored tensors are this graph's."""
        return Graph(prefix, self._initializers)

    def subgraph(self, results, outputs):
        """This branch with the values `results` under the names `outputs`, behind the branch's prefix."""
        for result, output in zip(results, outputs, strict=True):
            self.node("Identity", result, output=self._prefix + output)
        declared = [helper.make_tensor_value_info(self._prefix + output, TensorProto.FLOAT, None) for output in outputs]
        return helper.make_graph(self._nodes, self._prefix, [], declared)

    def conditional(self, condition, then_branch, else_branch, outputs):
        """Run one of two branches by a bool value of one element."""
        node = helper.make_node("If", [condition], outputs, name="If", then_branch=then_branch, else_branch=else_branch)
        self._nodes.append(node)

    def weight(self, name, array):
        """Store `array` as float32 under `name`; a name may be given only once."""
        if name in self._initializers:
            raise ValueError(f"weight {name} is stored twice")
        return self._store(name, np.asarray(array, np.float32))

    def shared_weight(self, name, array):
        """As `weight`, but a name may come again and means the same array."""
        return self._store(name, np.asarray(array, np.float32))

    def integer(self, value):
        """Return an int64 constant of shape []."""
        return self._store(f"integer_{value}", np.array(value, np.int64))

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
