"""A mix of towers: a gate that looks at the frames weighs their logits (linrongc/youtube-8m nextvlad.py,
MixNeXtVladModel). Any tower may stand in it; three of DBoF make the paper's MixDBoF.

`distillation` has the loss that makes the mix teach its towers while they train.

B segments, W frames of a window, F features a frame, N towers, H sum of the towers' embedding sizes, C classes.
"""

import keras
import numpy as np
from keras import ops

from segsearch.training.aggregations import MixConfig
from segsearch.training.layers.batch_norm import BatchNorm
from segsearch.training.layers.rows import he
from segsearch.training.layers.tower import Tower


class Mix(keras.layers.Layer):
    """(B, W, F) frames to a dict of `scores` (B, C), `embedding` (B, H), `logits` (B, C), `tower_logits` (B, N, C) and
    `tower_weights` (B, N), which sum to 1.
    """

    def __init__(self, config: MixConfig, towers: list[Tower], **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.config, self.towers = config, towers
        self.gate_bn = BatchNorm(config.batch_norm_decay, config.unbiased, name="gate_bn")

    def build(self, frames_shape):
        width, count = frames_shape[-1], len(self.towers)
        self.gate_bn.build((None, width))
        self.gate = self.add_weight(shape=(width, count), initializer=he(width), name="gate")
        self.gate_biases = self.add_weight(shape=(count,), initializer="zeros", name="gate_biases")
        for tower in self.towers:
            tower.build(frames_shape)

    def call(self, frames, frame_mask, training=False):  # (B, W, F), (B, W)
        weights = self.weigh(frames, frame_mask, training)  # (B, N)
        judged = [tower.logits(frames, frame_mask, training) for tower in self.towers]
        tower_logits = ops.stack([logits for logits, _ in judged], axis=1)  # (B, N, C)
        logits = ops.sum(weights[..., None] * tower_logits, axis=1)  # (B, C)
        return {
            "scores": ops.sigmoid(logits),
            "embedding": ops.concatenate([embedding for _, embedding in judged], axis=-1),
            "logits": logits,
            "tower_logits": tower_logits,
            "tower_weights": weights,
        }

    def weigh(self, frames, frame_mask, training=False):
        """How much each tower counts for each segment, (B, N)."""
        if self.config.gate_input == "padded":
            count = ops.cast(ops.shape(frames)[1], frames.dtype)
        else:
            count = ops.maximum(ops.sum(frame_mask, axis=1, keepdims=True), 1.0)
        mean = ops.sum(frames * frame_mask[..., None], axis=1) / count  # (B, F)
        return ops.softmax(ops.matmul(self.gate_bn(mean, training=training), self.gate) + self.gate_biases, axis=-1)

    def take_classes(self, other: "Mix", ordinals: np.ndarray) -> None:
        """Becomes `other` restricted to these of its classes, in this order."""
        own = [self.gate, self.gate_biases, *self.gate_bn.weights]
        for mine, theirs in zip(own, [other.gate, other.gate_biases, *other.gate_bn.weights], strict=True):
            mine.assign(theirs)
        for tower, twin in zip(self.towers, other.towers, strict=True):
            tower.take_classes(twin, ordinals)
