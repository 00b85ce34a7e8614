"""What willow's networks have in common: each feature stream is pooled by itself, then all meet in a hidden layer.

Where it stands: `soft_dbof`, `gated_dbof`, `netvlad` and `netfv` hold the poolings, this file what lies around them
(antoine77340/Youtube-8M-WILLOW frame_level_models.py, the *ModelLF classes).

B segments, W frames of a window, F features a frame, P descriptor size, H hidden units.
"""

import keras
from keras import ops

from segsearch.core.features import Stream
from segsearch.training.aggregations import GatedDBoFConfig, NetFVConfig, NetVLADConfig, SoftDBoFConfig
from segsearch.training.layers.batch_norm import BatchNorm
from segsearch.training.layers.context_gating import gating_of
from segsearch.training.layers.hidden import Hidden
from segsearch.training.layers.rows import normal, normalise_frames, split_streams


class ByStream(keras.layers.Layer):
    """Aggregates (B, W, F) frames into one (B, H) vector a segment.

    poolings: a layer a stream; `width` is the size of its descriptor, known once it is built.
    """

    def __init__(
        self,
        config: SoftDBoFConfig | GatedDBoFConfig | NetVLADConfig | NetFVConfig,
        streams: tuple[Stream, ...],
        poolings: list[keras.layers.Layer],
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.config, self.streams, self.poolings = config, streams, poolings
        self.input_bn = BatchNorm(config.batch_norm_decay, name="input_bn")
        # Willow scales the hidden layer's start by clusters although its fan-in is the descriptor's size.
        self.hidden = Hidden(config.hidden, normal(config.clusters), name="hidden") if config.hidden else None
        self.gating = gating_of(config.gating)

    def build(self, frames_shape):
        self.input_bn.build((None, frames_shape[-1]))
        for stream, pooling in zip(self.streams, self.poolings, strict=True):
            pooling.build((None, None, stream.size))
        width = sum(pooling.width for pooling in self.poolings)
        if self.hidden:
            self.hidden.build((None, width))
            width = self.config.hidden.units
        self.gating.build((None, width))

    def call(self, frames, frame_mask, training=False):  # (B, W, F), (B, W)
        x = self.pool(frames, frame_mask, training)  # (B, P)
        if self.hidden:
            x = self.hidden(x, training=training)  # (B, H)
        return self.gating(x, training=training)

    def pool(self, frames, frame_mask, training=False):
        """(B, P): the streams' descriptors, side by side."""
        parts = split_streams(normalise_frames(self.input_bn, frames, frame_mask, training), self.streams)
        pooled = [pool(part, frame_mask, training=training) for pool, part in zip(self.poolings, parts, strict=True)]
        return ops.concatenate(pooled, axis=-1)
