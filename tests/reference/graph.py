"""Short words for building small ONNX graphs."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, DOUBLE, INT64, STRING, BOOL = (getattr(TensorProto, name) for name in ("FLOAT", "DOUBLE", "INT64", "STRING", "BOOL"))


def value(name: str, kind: int, *shape) -> onnx.ValueInfoProto:
    """A named tensor; a string in the shape is a free dimension."""
    return helper.make_tensor_value_info(name, kind, shape)


def constant(name: str, values, dtype: type = np.float32) -> onnx.TensorProto:
    """A named initializer."""
    return numpy_helper.from_array(np.array(values, dtype), name)


def node(kind: str, inputs: str, outputs: str, **attributes) -> onnx.NodeProto:
    """`inputs` and `outputs` are names separated by blanks."""
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def model(nodes: list, inputs: list, outputs: list, constants: list = ()) -> onnx.ModelProto:
    """A checked model, opset 17, IR version 8."""
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made
