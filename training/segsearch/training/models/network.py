"""The whole network: byte codes -> frames -> one vector a segment -> class probabilities.

What callers rely on: `network(codes, frame_count)` takes raw bytes and true frame counts, gives at least
`{"scores", "embedding"}`, and holds nothing random unless `training` (dropout). Which frames to show is the caller's
choice. `bodies` knows what lies between frames and scores.

B segments, W frames of a window, F codes a frame, H embedding size, N towers, C classes.
"""

import keras
import numpy as np

from segsearch.core.features import FeatureSpec
from segsearch.training.config import NetworkConfig
from segsearch.training.layers.frames import Frames, mask_of
from segsearch.training.models.bodies import body_of


class Network(keras.Model):
    """Scores segments. Variables exist as soon as it is made; names are fixed, they reach checkpoints and ONNX."""

    def __init__(self, config: NetworkConfig, features: FeatureSpec, classes: int):
        super().__init__(name="network")
        self.config, self.features, self.classes = config, features, classes
        self.frames = Frames(features, config.normalisation, name="frames")
        self.input_dropout = keras.layers.Dropout(config.input_dropout, name="input_dropout")
        self.body = body_of(config.body, features.streams, classes)
        self(np.zeros((1, 1, features.size), np.uint8), np.ones(1, np.int32))  # makes the variables

    # Keras hands `training` on to the body's layers.
    def call(self, codes, frame_count, training=False):  # (B, W, F) uint8, (B,) int32
        """`scores` (B, C) and `embedding` (B, H); of a mix also `logits` (B, C), `tower_logits` (B, N, C) and
        `tower_weights` (B, N).
        """
        frame_mask = mask_of(frame_count, keras.ops.shape(codes)[1])  # (B, W)
        frames = self.input_dropout(self.frames(codes, frame_mask), training=training)  # (B, W, F)
        return self.body(frames, frame_mask)

    @property
    def aggregation(self) -> keras.layers.Layer | None:
        """Frames to one vector; None for a mix, whose `body.towers` have one each."""
        return getattr(self.body, "aggregation", None)

    @property
    def head(self) -> keras.layers.Layer | None:
        """That vector to scores; None for a mix, whose `body.towers` have one each."""
        return getattr(self.body, "head", None)

    def copy(self) -> "Network":
        """Another network with the same weights."""
        twin = Network(self.config, self.features, self.classes)
        twin.set_weights(self.get_weights())
        return twin

    def select_classes(self, ordinals: np.ndarray) -> "Network":
        """A network for these of its classes, in this order: same weights, the heads' other columns left out."""
        selected = Network(self.config, self.features, len(ordinals))
        selected.body.take_classes(self.body, np.asarray(ordinals))
        return selected
