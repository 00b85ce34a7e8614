"""Stage 2's examples: the rated segments of videos, each with its context, labelled where people rated it.

One example for each distinct rated start of a video, as google/youtube-8m readers.py makes them, except that frames
are real ones only (padded and counted, never repeated) and that context frames come with them. A rated segment
behind frame 300, where the references stop reading, is left out; `survey.RatedSegments.left_out` counts them.

B segments of a batch, S of a video, W frames of a window, F codes a frame, R ratings of a video, C classes.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from segsearch.core.features import FeatureSpec
from segsearch.core.segments import SEGMENT_FRAMES
from segsearch.core.vocabulary import Vocabulary
from segsearch.training.config import InputConfig, StageConfig
from segsearch.training.input.draw import draw_context, draw_rows
from segsearch.training.input.shards import OrdinalTable, Record, Shards, parse

EVALUATION_BATCH = 512


class SegmentExamples:
    """Batches of `codes` (B, W, F) uint8, `frame_count` (B,) int32, `labels` and `weights` (B, C) float32.

    Label: the score at rated classes; weight: 1 there and 0 at unrated classes.
    """

    def __init__(
        self,
        files: Sequence[Path],
        features: FeatureSpec,
        vocabulary: Vocabulary,
        context: int,
        stage: StageConfig,
        config: InputConfig,
        seed: int,
    ):
        self.stage, self.features, self.context, self.config, self.seed = stage, features, context, config, seed
        self.shards, self.ordinals = Shards(files, config, seed), OrdinalTable(vocabulary)

    def epoch(self, number: int, skip: int = 0) -> tf.data.Dataset:
        """One epoch's training batches from batch `skip` on."""
        windows = self._windows(self.shards.shuffled(number))
        windows = windows.shuffle(self.config.shuffle_segments, seed=self.seed + number, reshuffle_each_iteration=False)
        batches = self._batches(windows, self.stage.batch_size).enumerate().skip(skip)

        def example(position, batch):
            if self.stage.frame_draw == "all":
                return self._labelled(batch)
            seed = tf.stack([tf.constant((self.seed << 16) + number, tf.int64), position])
            if self.stage.frame_draw == "context":
                return self._labelled({**batch, **draw_context(batch, self.context, seed)})
            rows = draw_rows(self.stage, batch["frame_count"], seed)  # (B, W)
            drawn = {"codes": tf.gather(batch["codes"], rows, batch_dims=1)}
            return self._labelled({**batch, **drawn, "frame_count": tf.zeros_like(rows[:, 0]) + self.stage.frames})

        return batches.map(example, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    def in_order(self) -> tf.data.Dataset:
        """Every rated segment with all its frames, in `survey.RatedSegments`' order."""
        batches = self._batches(self._windows(self.shards.in_order()), EVALUATION_BATCH)
        return batches.map(self._labelled, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    @property
    def width(self) -> int:
        """Frames of a whole window."""
        return SEGMENT_FRAMES + 2 * self.context

    def _windows(self, records: tf.data.Dataset) -> tf.data.Dataset:
        """Records to windows, one after the other; their ratings as (R,) rows with ordinal -1 for other segments'."""

        def windows(serialised):
            return self._windows_of(parse(serialised, self.features))

        return records.map(windows, num_parallel_calls=tf.data.AUTOTUNE).unbatch()

    def _windows_of(self, record: Record) -> dict[str, tf.Tensor]:
        frame_count = tf.cast(record.frame_count, tf.int64)
        starts, _ = tf.unique(record.starts)  # in order of first appearance
        starts = tf.boolean_mask(starts, starts < frame_count)  # (S,)
        first = tf.maximum(starts - self.context, 0)
        counts = tf.minimum(starts + SEGMENT_FRAMES + self.context, frame_count) - first  # (S,)
        rows = first[:, None] + tf.range(self.width, dtype=tf.int64)  # (S, W)
        real = tf.range(self.width, dtype=tf.int64) < counts[:, None]
        frames = record.frames(tf.reshape(tf.minimum(rows, frame_count - 1), (-1,)))  # (S W, F)
        codes = tf.reshape(frames, (-1, self.width, self.features.size))
        codes = tf.where(real[:, :, None], codes, tf.constant(0, tf.uint8))
        here = (record.starts == starts[:, None]) & _last_of_its_pair(record)  # (S, R)
        ordinals = tf.where(here, self.ordinals(record.rated_labels), -1)
        scores = tf.broadcast_to(record.scores, tf.shape(ordinals))
        return {
            "codes": codes,
            "frame_count": tf.cast(counts, tf.int32),
            "before": tf.cast(starts - first, tf.int32),  # frames of context that come before the segment
            "ordinals": ordinals,
            "scores": scores,
        }

    def _batches(self, windows: tf.data.Dataset, size: int) -> tf.data.Dataset:
        shapes = {"codes": (self.width, self.features.size), "frame_count": (), "before": ()}
        nothing = {"codes": np.uint8(0), "frame_count": np.int32(0), "before": np.int32(0)}
        shapes |= {"ordinals": (None,), "scores": (None,)}
        nothing |= {"ordinals": np.int32(-1), "scores": np.float32(0)}
        return windows.padded_batch(size, shapes, nothing)

    def _labelled(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The batch with its ratings spread over all classes."""
        ordinals, frame_count = batch["ordinals"], batch["frame_count"]  # (B, R), (B,)
        rated = tf.where(ordinals >= 0)  # (pairs, 2)
        places = tf.stack([tf.cast(rated[:, 0], tf.int32), tf.gather_nd(ordinals, rated)], axis=1)
        shape = tf.stack([tf.size(frame_count), self.ordinals.classes])
        labels = tf.ensure_shape(
            tf.scatter_nd(places, tf.gather_nd(batch["scores"], rated), shape), (None, self.ordinals.classes)
        )
        weights = tf.ensure_shape(
            tf.scatter_nd(places, tf.ones_like(places[:, 0], tf.float32), shape), (None, self.ordinals.classes)
        )
        return {"codes": batch["codes"], "frame_count": frame_count, "labels": labels, "weights": weights}


def _last_of_its_pair(record: Record) -> tf.Tensor:
    """(R,) bool: False for a rating that a later one of the same segment and class replaces."""
    same = (record.starts[:, None] == record.starts) & (record.rated_labels[:, None] == record.rated_labels)
    later = tf.range(tf.size(record.starts)) > tf.range(tf.size(record.starts))[:, None]
    return ~tf.reduce_any(same & later, axis=1)
