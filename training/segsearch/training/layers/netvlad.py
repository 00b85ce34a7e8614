"""NetVLAD, and its forms without centres (antoine77340/Youtube-8M-WILLOW frame_level_models.py, NetVLAD, LightVLAD,
NetVLAGD).

B segments, W frames of a window, D features of one stream, K clusters.
"""

import keras
from keras import ops

from segsearch.core.features import Stream
from segsearch.training.aggregations import NetVLADConfig
from segsearch.training.layers.assignment import Assignment
from segsearch.training.layers.by_stream import ByStream
from segsearch.training.layers.descriptors import flatten, frame_sums, unit_clusters
from segsearch.training.layers.frames import unit_length
from segsearch.training.layers.rows import normal
from segsearch.training.sizes import clusters_of_stream


class VLAD(keras.layers.Layer):
    """One stream: (B, W, D) to (B, D K) of unit length, what each cluster's frames add up to."""

    def __init__(self, clusters: int, form: str = "residual", decay: float = 0.999, **kwargs):
        super().__init__(**kwargs)
        self.form = form
        self.assignment = Assignment(clusters, decay, name="assignment")

    def build(self, frames_shape):
        self.assignment.build(frames_shape)
        shape = (frames_shape[-1], self.assignment.count)
        self.width = shape[0] * shape[1]
        if self.form == "residual":
            self.centres = self.add_weight(shape=shape, initializer=normal(shape[0]), name="centres")
        elif self.form == "gated":
            self.gates = self.add_weight(shape=shape, initializer=normal(shape[0]), name="gates")

    def call(self, frames, frame_mask, training=False):  # (B, W, D), (B, W)
        assignment = self.assignment(frames, frame_mask, training=training)  # (B, W, K)
        sums = frame_sums(assignment, frames)  # (B, D, K)
        if self.form == "residual":
            sums = sums - ops.sum(assignment, axis=1)[:, None, :] * self.centres
        elif self.form == "gated":
            sums = sums * ops.sigmoid(self.gates)
        return unit_length(flatten(unit_clusters(sums)))  # (B, D K)


def netvlad(config: NetVLADConfig, streams: tuple[Stream, ...], name: str = "netvlad") -> ByStream:
    """The whole aggregation: a VLAD a stream, hidden layer, gating."""
    vlads = []
    for number, stream in enumerate(streams):
        clusters = clusters_of_stream(config, number)
        vlads.append(VLAD(clusters, config.form, config.batch_norm_decay, name=stream.name))
    return ByStream(config, streams, vlads, name=name)
