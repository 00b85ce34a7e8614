"""Stage 1's examples: videos with their labels.

B videos, W frames shown, F codes a frame, C classes.
"""

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from segsearch.core.features import FeatureSpec
from segsearch.core.vocabulary import Vocabulary
from segsearch.training.config import InputConfig, StageConfig
from segsearch.training.input.draw import draw_rows, seeded
from segsearch.training.input.shards import OrdinalTable, Record, Shards, as_written, parse

EVALUATION_BATCH = 32  # whole videos: 300 frames each, not 15


class VideoExamples:
    """Batches of `codes` (B, W, F) uint8, `frame_count` (B,) int32, `labels` (B, C) float32."""

    def __init__(
        self,
        files: Sequence[Path],
        features: FeatureSpec,
        vocabulary: Vocabulary,
        stage: StageConfig,
        config: InputConfig,
        seed: int,
    ):
        self.stage, self.features, self.seed = stage, features, seed
        self.shards, self.ordinals = Shards(files, config, seed), OrdinalTable(vocabulary)
        # Every epoch is a pipeline of its own: what it maps is traced here, once, and not again for each.
        self._drawn, self._whole = map(tf.function, (self._draw, self._whole_of))

    def epoch(self, number: int, skip: int = 0) -> tf.data.Dataset:
        """One epoch's training batches from batch `skip` on, frames drawn as the stage's config says."""
        records = self.shards.shuffled(number).enumerate().skip(skip * self.stage.batch_size)
        examples = records.map(seeded(self._drawn, self.seed, number), num_parallel_calls=tf.data.AUTOTUNE)
        return self._batches(examples, self.stage.batch_size)

    def in_order(self) -> tf.data.Dataset:
        """Every video whole, frames in order, file after file."""
        examples = self.shards.in_order().map(self._whole, num_parallel_calls=tf.data.AUTOTUNE)
        return self._batches(examples, EVALUATION_BATCH)

    def _draw(self, serialised: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """A labelled video with the frames that the stage's config asks for."""
        record = _labelled(parse(serialised, self.features))
        if self.stage.frame_draw == "all":
            return self._example(record, tf.range(record.frame_count))
        return self._example(record, draw_rows(self.stage, record.frame_count, seed))

    def _whole_of(self, serialised: tf.Tensor) -> dict[str, tf.Tensor]:
        record = parse(serialised, self.features)
        return self._example(record, tf.range(record.frame_count))

    def _example(self, record, rows):
        ordinals = self.ordinals(record.labels)
        labels = tf.reduce_max(tf.one_hot(ordinals, self.ordinals.classes), axis=0)
        labels = tf.maximum(labels, 0.0)  # the maximum over no labels at all is -inf
        return {"codes": record.frames(rows), "frame_count": tf.shape(rows)[0], "labels": labels}

    def _batches(self, examples: tf.data.Dataset, size: int) -> tf.data.Dataset:
        shapes = {"codes": (None, self.features.size), "frame_count": (), "labels": (self.ordinals.classes,)}
        return as_written(examples.padded_batch(size, shapes).prefetch(tf.data.AUTOTUNE))


def _labelled(record: Record) -> Record:
    """The record; raises in the graph if it has no label, as training would take that for a no to every class."""
    with tf.control_dependencies([tf.debugging.assert_positive(tf.size(record.labels), "labels")]):
        return record._replace(labels=tf.identity(record.labels))
