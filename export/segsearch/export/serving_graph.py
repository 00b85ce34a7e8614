"""The TensorFlow function that is exported: raw bytes of windows in, probabilities and embedding out.

Where it stands: takes any network that `training` builds; `onnx_model` converts what comes from here. The block graph,
which works on a whole video and meets each frame once, will stand beside this one.

B windows, W frames of a window, F codes a frame, C classes, H embedding size.
"""

from typing import Any

import tensorflow as tf

INPUTS = ("frames", "frame_count")
OUTPUTS = ("scores", "embedding")


def segment_graph(network: Any, frame_size: int) -> Any:
    """A tf.function over single windows, batch and window length free.

    frames: (B, W, F) uint8, real frames first; frame_count: (B,) int32. Gives `scores` (B, C) and `embedding` (B, H).
    """

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, None, frame_size), tf.uint8, name="frames"),
            tf.TensorSpec((None,), tf.int32, name="frame_count"),
        ]
    )
    def serve(frames: Any, frame_count: Any) -> dict[str, Any]:
        answer = network(frames, frame_count, training=False)
        return {name: tf.identity(answer[name], name=name) for name in OUTPUTS}

    return serve
