"""Gated deep bag of frames (antoine77340/Youtube-8M-WILLOW frame_level_models.py, GatedDBoF).

B segments, W frames of a window, D features of one stream, K clusters.
"""

import keras
from keras import ops

from segsearch.core.features import Stream
from segsearch.training.aggregations import GatedDBoFConfig
from segsearch.training.layers.assignment import Assignment
from segsearch.training.layers.batch_norm import BatchNorm
from segsearch.training.layers.by_stream import ByStream
from segsearch.training.layers.frames import unit_length
from segsearch.training.layers.rows import normal
from segsearch.training.layers.soft_dbof import SoftBag
from segsearch.training.sizes import clusters_of_stream


class GatedBag(keras.layers.Layer):
    """One stream: (B, W, D) to what each cluster got in sum, gated by its best frames; (B, K) of unit length."""

    def __init__(self, clusters: int, decay: float = 0.999, **kwargs):
        super().__init__(**kwargs)
        self.width = clusters
        self.assignment = Assignment(clusters, decay, name="assignment")
        self.batch_norm = BatchNorm(decay, name="batch_norm")

    def build(self, frames_shape):
        features, clusters = frames_shape[-1], self.width
        self.assignment.build(frames_shape)
        # The gate goes through a layer as narrow as the features: K x K would be too large.
        self.narrow = self.add_weight(shape=(clusters, features), initializer=normal(features), name="narrow")
        self.widen = self.add_weight(shape=(features, clusters), initializer=normal(features), name="widen")
        self.batch_norm.build((None, clusters))

    def call(self, frames, frame_mask, training=False):  # (B, W, D), (B, W)
        assignment = self.assignment(frames, frame_mask, training=training)  # (B, W, K)
        best = unit_length(ops.max(assignment, axis=1))  # (B, K)
        gates = self.batch_norm(ops.matmul(ops.matmul(best, self.narrow), self.widen), training=training)
        return unit_length(ops.sigmoid(gates) * ops.sum(assignment, axis=1))  # (B, K)


def gated_dbof(config: GatedDBoFConfig, streams: tuple[Stream, ...], name: str = "gated_dbof") -> ByStream:
    """The whole aggregation: a gated bag for the first stream, soft bags for the others, hidden layer, gating."""
    bags: list[keras.layers.Layer] = [GatedBag(config.clusters, config.batch_norm_decay, name=streams[0].name)]
    for stream in streams[1:]:
        clusters = clusters_of_stream(config, 1)
        bags.append(SoftBag(clusters, config.max_pool, config.batch_norm_decay, name=stream.name))
    return ByStream(config, streams, bags, name=name)
