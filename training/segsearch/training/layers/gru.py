"""GRU networks: stacked (antoine77340/Youtube-8M-WILLOW frame_level_models.py, GruModel) and with a first layer that
reads both ways (miha-skalic/youtube8mchallenge, GRUbidirect).

A step past the last real frame leaves the state as it is, so that padding changes nothing. The reset gate acts before
the recurrent product, as in TensorFlow 1; cuDNN's GRU, which acts behind it, would be another network.

B segments, W frames of a window, F features a frame, H embedding size.
"""

import keras
from keras import ops

from segsearch.training.aggregations import GRUConfig
from segsearch.training.layers.context_gating import gating_of
from segsearch.training.layers.recurrent import as_read, glorot, layers_of


class GRU(keras.layers.Layer):
    """Aggregates (B, W, F) frames into one (B, H) vector a segment."""

    def __init__(self, config: GRUConfig, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.gating = gating_of(config.gating)

    def build(self, frames_shape):
        cells = self.config.cells
        self.below, self.stack = layers_of(self.config, frames_shape[-1], _layer)
        self.gating.build((None, cells * self.config.layers if self.config.output == "states" else cells))

    def call(self, frames, frame_mask, training=False):  # (B, W, F), (B, W)
        return self.gating(self.pool(frames, frame_mask, training), training=training)

    def pool(self, frames, frame_mask, training=False):
        """(B, H): the states after the last real frame that the config asks for."""
        x, states = as_read(self.config.direction, self.below, frames, frame_mask, training), []
        for layer in self.stack:
            x, state = layer(x, mask=frame_mask > 0, training=training)  # (B, W, cells), (B, cells)
            states.append(state)
        return ops.concatenate(states, axis=-1) if self.config.output == "states" else states[-1]


def _layer(inputs: int, cells: int, name: str) -> keras.layers.GRU:
    start = glorot(inputs, cells, 2, 1)  # update and reset, candidate
    layer = keras.layers.GRU(
        cells,
        reset_after=False,
        return_sequences=True,
        return_state=True,
        kernel_initializer=start,
        recurrent_initializer=start,
        bias_initializer=_open_gates,
        name=name,
    )
    layer.build((None, None, inputs))
    return layer


def _open_gates(shape, dtype=None):
    """1 for update and reset, 0 for the candidate (TensorFlow 1, GRUCell)."""
    cells = shape[0] // 3
    return ops.concatenate([ops.ones(2 * cells, dtype), ops.zeros(cells, dtype)])
