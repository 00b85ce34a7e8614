"""Writes ONNX graphs node by node, weights straight from numpy.

Where it stands: `steps` say what to write, `block_graph` in which order. No converter runs, so that memory holds the
weights once in the graph and once in the file that is made of it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 18, 8

Value = str | np.ndarray | np.generic


class OnnxGraph:
    """A graph under construction. Values are known by their names."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._shared: dict[str, str] = {}

    def input(self, name: str, dtype: int, shape: list[str | int]) -> str:
        """Declares an input; free axes by name."""
        self._inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def __call__(self, operator: str, *inputs: Value, **attributes: Any) -> str:
        """Adds a node and returns the name of its output; arrays among the inputs become constants."""
        return self.split(operator, *inputs, outputs=1, **attributes)[0]

    def split(self, operator: str, *inputs: Value, outputs: int, **attributes: Any) -> list[str]:
        """Like calling it, for a node with several outputs."""
        names = [f"{operator.lower()}_{len(self._nodes)}" + (f"_{place}" * (place > 0)) for place in range(outputs)]
        feeds = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        self._nodes.append(helper.make_node(operator, feeds, names, name=names[0], **attributes))
        return names

    def shared(self, key: str, make: Any) -> str:
        """What `make(graph)` adds, once for all who ask under this key."""
        if key not in self._shared:
            self._shared[key] = make(self)
        return self._shared[key]

    def model(self, name: str, outputs: Mapping[str, tuple[str, int, list[str | int]]]) -> onnx.ModelProto:
        """The finished model, checked; the graph's constants have moved into it. outputs: public name to (value, dtype,
        shape).
        """
        for public, (value, _, _) in outputs.items():
            self._nodes.append(helper.make_node("Identity", [value], [public], name=public))
        found = [helper.make_tensor_value_info(public, dtype, shape) for public, (_, dtype, shape) in outputs.items()]
        graph = helper.make_graph(self._nodes, name, self._inputs, found)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="segsearch"
        )
        # Last, and one by one: each step before would have copied the weights once more.
        for constant in list(self._constants):
            model.graph.initializer.append(self._constants.pop(constant))
        onnx.checker.check_model(model, full_check=True)
        return model

    def _constant(self, value: np.ndarray | np.generic) -> str:
        array = np.asarray(value)
        name = f"constant_{len(self._constants)}"
        self._constants[name] = numpy_helper.from_array(array, name)
        return name


def ints(*values: int) -> np.ndarray:
    """A constant of int64, as shapes and axes are."""
    return np.array(values, np.int64)


FLOAT, UINT8, UINT16, INT32 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.UINT16, TensorProto.INT32
INT64, INT8, BOOL = TensorProto.INT64, TensorProto.INT8, TensorProto.BOOL
FLOAT16 = TensorProto.FLOAT16
