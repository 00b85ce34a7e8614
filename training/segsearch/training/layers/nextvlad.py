"""NeXtVLAD: groups of expanded features softly assigned to clusters (Lin et al. 2018; linrongc/youtube-8m nextvlad.py).

B segments, W frames of a window, F features a frame, D features of one stream, e expansion, G groups, K clusters,
P descriptor size, H hidden units.
"""

import keras
from keras import ops

from segsearch.core.features import Stream
from segsearch.training.aggregations import NeXtVLADConfig
from segsearch.training.layers.batch_norm import BatchNorm
from segsearch.training.layers.context_gating import gating_of
from segsearch.training.layers.descriptors import flatten, frame_sums, unit_clusters
from segsearch.training.layers.hidden import Hidden
from segsearch.training.layers.rows import he, normalise_frames, split_streams
from segsearch.training.sizes import clusters_of_stream, group_depth, groups_of_stream


class NeXtVLAD(keras.layers.Layer):
    """Aggregates (B, W, F) frames into one (B, H) vector a segment."""

    def __init__(self, config: NeXtVLADConfig, streams: tuple[Stream, ...], **kwargs):
        super().__init__(**kwargs)
        self.config, self.streams = config, streams
        self.vlads = []
        for number, stream in enumerate(streams):
            clusters, groups = clusters_of_stream(config, number), groups_of_stream(config, number)
            self.vlads.append(GroupedVLAD(clusters, groups, config, name=stream.name))
        self.gating = gating_of(config.gating)

    def build(self, _):
        for stream, vlad in zip(self.streams, self.vlads, strict=True):
            vlad.build((None, None, stream.size))
        width = sum(vlad.width for vlad in self.vlads)
        self.hidden = Hidden(self.config.hidden, he(width), name="hidden")
        self.hidden.build((None, width))
        self.gating.build((None, self.config.hidden.units))

    def call(self, frames, frame_mask, training=False):  # (B, W, F), (B, W)
        hidden = self.hidden(self.pool(frames, frame_mask, training), training=training)
        return self.gating(hidden, training=training)  # (B, H)

    def pool(self, frames, frame_mask, training=False):
        """(B, P): the streams' descriptors, side by side."""
        parts = split_streams(frames, self.streams)
        vlads = [vlad(part, frame_mask, training=training) for vlad, part in zip(self.vlads, parts, strict=True)]
        return ops.concatenate(vlads, axis=-1)


class GroupedVLAD(keras.layers.Layer):
    """One stream: (B, W, D) to (B, eD/G K), residuals of groups of features, attended to and batch-normalised."""

    def __init__(self, clusters: int, groups: int, config: NeXtVLADConfig, **kwargs):
        super().__init__(**kwargs)
        self.config, self.clusters, self.groups = config, clusters, groups
        self.cluster_bn = BatchNorm(config.batch_norm_decay, config.unbiased, name="cluster_bn")
        self.vlad_bn = BatchNorm(config.batch_norm_decay, config.unbiased, name="vlad_bn")

    def build(self, frames_shape):
        features = frames_shape[-1]
        expanded, assigned = self.config.expansion * features, self.groups * self.clusters
        depth = group_depth(self.groups, expanded, self.name)
        self.width = depth * self.clusters
        self.expand = self._dense((features, expanded), "expand")
        self.expand_biases = self.add_weight(shape=(expanded,), initializer="zeros", name="expand_biases")
        self.attend = self._dense((expanded, self.groups), "attend")
        self.attend_biases = self.add_weight(shape=(self.groups,), initializer="zeros", name="attend_biases")
        self.assign = self._dense((expanded, assigned), "assign")
        self.centres = self._dense((depth, self.clusters), "centres")
        self.cluster_bn.build((None, assigned))
        self.vlad_bn.build((None, self.width))

    def call(self, frames, frame_mask, training=False):  # (B, W, D), (B, W)
        x = ops.matmul(frames, self.expand) + self.expand_biases  # (B, W, eD)
        attention = ops.sigmoid(ops.matmul(x, self.attend) + self.attend_biases)  # (B, W, G)
        if self.config.masked:
            attention = attention * frame_mask[..., None]  # a sigmoid alone would leave padding a half
        counted = None if self.config.padding_in_statistics else frame_mask
        assignment = normalise_frames(self.cluster_bn, ops.matmul(x, self.assign), counted, training)  # (B, W, G K)
        rows = ops.shape(x)[1] * self.groups
        assignment = ops.softmax(ops.reshape(assignment, (-1, rows, self.clusters)), axis=-1)  # (B, W G, K)
        assignment = assignment * ops.reshape(attention, (-1, rows, 1))
        slices = ops.reshape(x, (-1, rows, x.shape[-1] // self.groups))  # (B, W G, eD/G)
        residual = frame_sums(assignment, slices) - ops.sum(assignment, axis=1)[:, None, :] * self.centres
        return self.vlad_bn(flatten(unit_clusters(residual)), training=training)  # (B, eD/G K)

    def _dense(self, shape, name):
        return self.add_weight(shape=shape, initializer=he(shape[0]), name=name)
