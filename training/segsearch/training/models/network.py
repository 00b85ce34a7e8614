"""The whole network: byte codes -> frames -> one vector a segment -> class probabilities.

What callers rely on: `network(codes, frame_count)` takes raw bytes and true frame counts, gives
`{"scores", "embedding"}`, and holds nothing random unless `training` (dropout). Which frames to show is the caller's
choice. A new aggregation or head is one file in `layers/`, one config class, and one line below.

B segments, W frames of a window, F codes a frame, H embedding size, C classes.
"""

import keras
import numpy as np

from segsearch.core.features import FeatureSpec
from segsearch.training.config import DBoFConfig, FrameMeanConfig, LogisticConfig, MoEConfig, NetworkConfig
from segsearch.training.layers.dbof import DBoF
from segsearch.training.layers.frame_mean import FrameMean
from segsearch.training.layers.frames import Frames, mask_of
from segsearch.training.layers.logistic import Logistic
from segsearch.training.layers.moe import MoE


class Network(keras.Model):
    """Scores segments. Variables exist as soon as it is made; names are fixed, they reach checkpoints and ONNX."""

    def __init__(self, config: NetworkConfig, features: FeatureSpec, classes: int):
        super().__init__(name="network")
        self.config, self.features, self.classes = config, features, classes
        self.frames = Frames(features, config.normalisation, name="frames")
        self.aggregation = _aggregation(config.aggregation)
        self.head = _head(config.head, classes)
        self(np.zeros((1, 1, features.size), np.uint8), np.ones(1, np.int32))  # makes the variables

    # (B, W, F) uint8, (B,) int32. Keras hands `training` on to the layers that know it.
    def call(self, codes, frame_count, training=False):  # noqa: ARG002
        frame_mask = mask_of(frame_count, keras.ops.shape(codes)[1])  # (B, W)
        frames = self.frames(codes, frame_mask)  # (B, W, F)
        embedding = self.aggregation(frames, frame_mask)  # (B, H)
        return {"scores": self.head(embedding), "embedding": embedding}  # (B, C), (B, H)

    def copy(self) -> "Network":
        """Another network with the same weights."""
        twin = Network(self.config, self.features, self.classes)
        twin.set_weights(self.get_weights())
        return twin

    def select_classes(self, ordinals: np.ndarray) -> "Network":
        """A network for these of its classes, in this order: same weights, the head's other columns left out."""
        selected = Network(self.config, self.features, len(ordinals))
        for mine, theirs in zip(selected.aggregation.weights, self.aggregation.weights, strict=True):
            mine.assign(theirs)
        selected.head.take_classes(self.head, np.asarray(ordinals))
        return selected


def _aggregation(config: DBoFConfig | FrameMeanConfig):
    match config:
        case DBoFConfig():
            return DBoF(config, name="dbof")
        case FrameMeanConfig():
            return FrameMean(name="frame_mean")


def _head(config: MoEConfig | LogisticConfig, classes: int):
    match config:
        case MoEConfig():
            return MoE(config, classes, name="moe")
        case LogisticConfig():
            return Logistic(config, classes, name="logistic")
