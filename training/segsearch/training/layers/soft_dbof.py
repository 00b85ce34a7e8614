"""Soft deep bag of frames (antoine77340/Youtube-8M-WILLOW frame_level_models.py, SoftDBoF).

B segments, W frames of a window, D features of one stream, K clusters.
"""

import keras
from keras import ops

from segsearch.core.features import Stream
from segsearch.training.aggregations import SoftDBoFConfig
from segsearch.training.layers.assignment import Assignment
from segsearch.training.layers.by_stream import ByStream
from segsearch.training.layers.frames import unit_length
from segsearch.training.sizes import clusters_of_stream


class SoftBag(keras.layers.Layer):
    """One stream: (B, W, D) to what each cluster got in sum, (B, K) of unit length; the best frames beside it."""

    def __init__(self, clusters: int, max_pool: bool, decay: float = 0.999, **kwargs):
        super().__init__(**kwargs)
        self.max_pool, self.width = max_pool, clusters * (2 if max_pool else 1)
        self.assignment = Assignment(clusters, decay, name="assignment")

    def build(self, frames_shape):
        self.assignment.build(frames_shape)

    def call(self, frames, frame_mask, training=False):  # (B, W, D), (B, W)
        assignment = self.assignment(frames, frame_mask, training=training)  # (B, W, K)
        total = unit_length(ops.sum(assignment, axis=1))  # (B, K)
        if not self.max_pool:
            return total
        return ops.concatenate([total, unit_length(ops.max(assignment, axis=1))], axis=-1)  # (B, 2 K)


def soft_dbof(config: SoftDBoFConfig, streams: tuple[Stream, ...], name: str = "soft_dbof") -> ByStream:
    """The whole aggregation: a soft bag a stream, hidden layer, gating."""
    bags = []
    for number, stream in enumerate(streams):
        clusters = clusters_of_stream(config, number)
        bags.append(SoftBag(clusters, config.max_pool, config.batch_norm_decay, name=stream.name))
    return ByStream(config, streams, bags, name=name)
