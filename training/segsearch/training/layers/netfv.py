"""NetFV, a Fisher vector that learns (antoine77340/Youtube-8M-WILLOW frame_level_models.py, NetFV).

B segments, W frames of a window, D features of one stream, K clusters.
"""

import keras
from keras import ops

from segsearch.core.features import Stream
from segsearch.training.aggregations import NetFVConfig
from segsearch.training.layers.assignment import Assignment
from segsearch.training.layers.by_stream import ByStream
from segsearch.training.layers.descriptors import flatten, frame_sums, unit_clusters
from segsearch.training.layers.frames import unit_length
from segsearch.training.layers.rows import normal
from segsearch.training.precision import computing_in
from segsearch.training.sizes import clusters_of_stream

SPREAD_FLOOR = 1e-6


class FisherVector(keras.layers.Layer):
    """One stream: (B, W, D) to (B, 2 D K), first and second moments around each cluster, each of unit length."""

    def __init__(self, clusters: int, config: NetFVConfig, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.assignment = Assignment(clusters, config.batch_norm_decay, name="assignment")

    def build(self, frames_shape):
        self.assignment.build(frames_shape)
        features, clusters = frames_shape[-1], self.assignment.count
        self.width = 2 * features * clusters
        shape = (features, clusters)
        self.spread = self.add_weight(shape=shape, initializer=normal(features, mean=1.0), name="spread")
        if not self.config.coupled:
            self.centres = self.add_weight(shape=shape, initializer=normal(features), name="centres")

    def call(self, frames, frame_mask, training=False):  # (B, W, D), (B, W)
        assignment = self.assignment(frames, frame_mask, training=training)  # (B, W, K)
        spread = ops.square(self.spread) + SPREAD_FLOOR  # (D, K)
        centres = self.config.coupling * self.assignment.clusters if self.config.coupled else self.centres
        share = ops.sum(assignment, axis=1)[:, None, :]  # (B, 1, K)
        first = frame_sums(assignment, frames)  # (B, D, K)
        second = frame_sums(assignment, ops.square(frames))  # (B, D, K)
        mean = (first - share * centres) / spread
        variance = (share * ops.square(centres) + second - 2 * first * centres) / ops.square(spread) - share
        # The reference brings clusters to unit length in the first half only; trained weights depend on it.
        halves = [unit_length(flatten(unit_clusters(mean))), unit_length(flatten(variance))]
        return ops.concatenate(halves, axis=-1)


def netfv(config: NetFVConfig, streams: tuple[Stream, ...], name: str = "netfv") -> ByStream:
    """The whole aggregation: a Fisher vector a stream, hidden layer, gating."""
    vectors = []
    for number, stream in enumerate(streams):
        clusters = clusters_of_stream(config, number)
        with computing_in("float32"):  # moments over squared spreads leave float16's range
            vectors.append(FisherVector(clusters, config, name=stream.name))
    return ByStream(config, streams, vectors, name=name)
