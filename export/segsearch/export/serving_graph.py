"""The TensorFlow function that is exported: raw bytes of windows in, probabilities and embedding out.

Where it stands: takes any network that `training` builds; `onnx_model` converts what comes from here. Networks that
pool frames do not come this way: `block_graph` writes them itself.

B windows, W frames of a window, F codes a frame, C classes, H embedding size.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

INPUTS = ("frames", "frame_count")
OUTPUTS = ("scores", "embedding")
LARGE = 1024  # numbers: a weight of more is an input of the function, and no constant that a converter works on


class SegmentGraph(NamedTuple):
    """A tf.function, and the weights that it takes as inputs behind the windows, by their names."""

    function: Any
    weights: dict[str, np.ndarray]


def segment_graph(network: Any, frame_size: int) -> SegmentGraph:
    """A tf.function over single windows, batch and window length free.

    frames: (B, W, F) uint8, real frames first; frame_count: (B,) int32. Gives `scores` (B, C) and `embedding` (B, H).
    """
    trained, others = network.trainable_variables, network.non_trainable_variables
    values = [np.asarray(weight) for weight in (*trained, *others)]
    large = {f"weight_{place}": value for place, value in enumerate(values) if value.size > LARGE}
    specs = [tf.TensorSpec(value.shape, value.dtype, name=name) for name, value in large.items()]

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, None, frame_size), tf.uint8, name="frames"),
            tf.TensorSpec((None,), tf.int32, name="frame_count"),
            *specs,
        ]
    )
    def serve(frames: Any, frame_count: Any, *weights: Any) -> dict[str, Any]:
        given = dict(zip(large, weights, strict=True))
        all_weights = [given.get(f"weight_{place}", value) for place, value in enumerate(values)]
        split = len(trained)
        answer, _ = network.stateless_call(
            all_weights[:split], all_weights[split:], frames, frame_count, training=False
        )
        return {name: tf.identity(answer[name], name=name) for name in OUTPUTS}

    return SegmentGraph(serve, large)
