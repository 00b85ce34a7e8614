"""From a TensorFlow function to a single-file ONNX model."""

from collections.abc import Mapping

import numpy as np
import onnx
import tf2onnx
from onnx import numpy_helper

from segsearch.core.errors import ExportFailed
from segsearch.export.serving_graph import INPUTS, OUTPUTS, SegmentGraph

OPSET = 18  # the highest that tf2onnx writes


def convert(graph: SegmentGraph) -> bytes:
    """The ONNX model of a serving function: inputs and outputs under their own names, weights inside, checked.

    Large weights pass the converter by: its optimisers would copy them some ninety times over. Raises ExportFailed if
    the converted graph asks for or gives anything else.
    """
    function, weights = graph
    model, _ = tf2onnx.convert.from_function(function, function.input_signature, opset=OPSET)
    found = {value.name for value in model.graph.input}, {value.name for value in model.graph.output}
    if found != ({*INPUTS, *weights}, set(OUTPUTS)):
        raise ExportFailed(f"the converted graph has inputs and outputs {found}, wanted {(INPUTS, OUTPUTS)}")
    _put_inside(model.graph, weights)
    _name_free_axes(model.graph)
    _drop_unused_domains(model)
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString()
    return data


def _put_inside(graph: onnx.GraphProto, weights: Mapping[str, np.ndarray]) -> None:
    """Inputs that are weights become constants of the graph."""
    kept = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(kept)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())


def _name_free_axes(graph: onnx.GraphProto) -> None:
    """Calls the free axes what they are, in place of the converter's running numbers."""
    for value in [*graph.input, *graph.output]:
        axes = value.type.tensor_type.shape.dim
        axes[0].dim_param = "batch"
        if value.name == "frames":
            axes[1].dim_param = "window"


def _drop_unused_domains(model: onnx.ModelProto) -> None:
    """Keeps only the operator sets that some node uses, so that readers may refuse all but the standard one."""
    used = {node.domain for node in model.graph.node}
    kept = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
