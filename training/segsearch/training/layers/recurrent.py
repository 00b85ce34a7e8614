"""What the LSTM and GRU networks share: masks, direction, and weights that start as TensorFlow 1's cells do.

B segments, W frames of a window, D features, S size of a layer's output.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from segsearch.training.aggregations import GRUConfig, LSTMConfig
from segsearch.training.layers.rows import reverse_frames


def glorot(inputs: int, cells: int, *gates: int):
    """Start of a kernel whose columns are groups of `gates` gates, each as one matrix over [input, state] would start.

    TensorFlow 1's cells have one such matrix where Keras has a kernel and a recurrent kernel.
    """

    def start(shape, dtype=None):
        limits = [(6 / (inputs + cells + count * cells)) ** 0.5 for count in gates]
        parts = [keras.initializers.RandomUniform(-limit, limit) for limit in limits]
        shapes = [(shape[0], count * cells) for count in gates]
        return ops.concatenate([part(one, dtype) for part, one in zip(parts, shapes, strict=True)], axis=1)

    return start


def layers_of(config: LSTMConfig | GRUConfig, width: int, layer_of: Callable[[int, int, str], Any]):
    """The two layers below that read one way each, if the config asks for both ways, and the stack above; all built.

    layer_of(inputs, cells, name): one layer.
    """
    cells, below = config.cells, []
    if config.direction == "bidirectional":
        below = [layer_of(width, cells // 2, name) for name in ("ahead", "back")]
        width = cells
    stack = []
    for number in range(2 if below else 1, config.layers + 1):
        stack.append(layer_of(width, cells, f"layer_{number}"))
        width = cells
    return below, stack


def as_read(direction: str, below, frames, frame_mask, training):  # (B, W, D), (B, W)
    """What a stack is given to read: frames from the first on or from the last real one back, or both in one."""
    match direction:
        case "backward":
            return reverse_frames(frames, frame_mask)
        case "bidirectional":
            return _both_ways(*below, frames, frame_mask, training)
    return frames


def _both_ways(forward, backward, frames, frame_mask, training):  # (B, W, D), (B, W)
    """(B, W, 2 S): what each layer has seen up to a frame, from the first frame on and from the last real one back."""
    ahead, *_ = forward(frames, mask=frame_mask > 0, training=training)
    back, *_ = backward(reverse_frames(frames, frame_mask), mask=frame_mask > 0, training=training)
    return ops.concatenate([ahead, reverse_frames(back, frame_mask)], axis=-1)
