"""LSTM networks: stacked (google/youtube-8m frame_level_models.py, LstmModel; antoine77340/Youtube-8M-WILLOW) and with
a first layer that reads both ways (miha-skalic/youtube8mchallenge, Lstmbidirect).

A step past the last real frame leaves the state as it is, so that padding changes nothing. The forget gate's +1 of
TensorFlow 1 is part of Keras' bias.

B segments, W frames of a window, F features a frame, H embedding size.
"""

import keras
from keras import ops

from segsearch.training.aggregations import LSTMConfig
from segsearch.training.layers.context_gating import gating_of
from segsearch.training.layers.recurrent import as_read, glorot, layers_of


class LSTM(keras.layers.Layer):
    """Aggregates (B, W, F) frames into one (B, H) vector a segment."""

    def __init__(self, config: LSTMConfig, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.gating = gating_of(config.gating)

    def build(self, frames_shape):
        cells = self.config.cells
        self.below, self.stack = layers_of(self.config, frames_shape[-1], _layer)
        self.gating.build((None, 2 * cells * self.config.layers if self.config.output == "states" else cells))

    def call(self, frames, frame_mask, training=False):  # (B, W, F), (B, W)
        return self.gating(self.pool(frames, frame_mask, training), training=training)

    def pool(self, frames, frame_mask, training=False):
        """(B, H): the states after the last real frame that the config asks for."""
        x, states = as_read(self.config.direction, self.below, frames, frame_mask, training), []
        for layer in self.stack:
            x, hidden, cell = layer(x, mask=frame_mask > 0, training=training)  # (B, W, cells), (B, cells) twice
            states += [cell, hidden]
        if self.config.output == "states":
            return ops.concatenate(states, axis=-1)
        return states[-1] if self.config.output == "hidden" else states[-2]


def _layer(inputs: int, cells: int, name: str) -> keras.layers.LSTM:
    start = glorot(inputs, cells, 4)
    layer = keras.layers.LSTM(
        cells,
        return_sequences=True,
        return_state=True,
        kernel_initializer=start,
        recurrent_initializer=start,
        name=name,
    )
    layer.build((None, None, inputs))
    return layer
