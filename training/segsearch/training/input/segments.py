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
from segsearch.training.input.draw import draw_context, draw_rows, seeded
from segsearch.training.input.shards import OrdinalTable, Record, Shards, as_written, parse
from segsearch.training.input.weighing import weigh
from segsearch.training.input.windows import cut_windows, shift_starts
from segsearch.training.supervision import LabelConfig

EVALUATION_BATCH = 512


class SegmentExamples:
    """Batches of `codes` (B, W, F) uint8, `frame_count` (B,) int32, `labels` and `weights` (B, C) float32.

    Label: the score at rated classes; weight: 1 there and 0 at unrated classes. In training, `stage.labels` and
    `class_weights` (C,) float32 may weigh otherwise.
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
        class_weights: np.ndarray | None = None,
    ):
        self.class_weights = class_weights
        self.masked = stage.labels == LabelConfig() and class_weights is None
        self.stage, self.features, self.context, self.config, self.seed = stage, features, context, config, seed
        self.shards, self.ordinals = Shards(files, config, seed), OrdinalTable(vocabulary)
        # Every epoch is a pipeline of its own: what it maps is traced here, once, and not again for each.
        self._cut, self._drawn, self._spread_out = map(tf.function, (self._windows_of, self._draw, self._labelled))

    def epoch(self, number: int, skip: int = 0) -> tf.data.Dataset:
        """One epoch's training batches from batch `skip` on."""
        windows = self._windows(self.shards.shuffled(number))
        windows = windows.shuffle(self.config.shuffle_segments, seed=self.seed + number, reshuffle_each_iteration=False)
        batches = self._batches(windows, self.stage.batch_size).enumerate().skip(skip)
        examples = batches.map(seeded(self._drawn, self.seed, number), num_parallel_calls=tf.data.AUTOTUNE)
        return as_written(examples.prefetch(tf.data.AUTOTUNE))

    def in_order(self, shift: int = 0) -> tf.data.Dataset:
        """Every rated segment with all its frames, in `survey.RatedSegments`' order.

        shift: the windows lie so many frames later, or earlier, as far as the video has them; ratings stay.
        """
        batches = self._batches(self._windows(self.shards.in_order(), shift), EVALUATION_BATCH)
        return as_written(batches.map(self._spread_out, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE))

    @property
    def width(self) -> int:
        """Frames of a whole window."""
        return SEGMENT_FRAMES + 2 * self.context

    def _windows(self, records: tf.data.Dataset, shift: int = 0) -> tf.data.Dataset:
        """Records to windows, one after the other; their ratings as (R,) rows with ordinal -1 for other segments'."""

        by = tf.constant(shift, tf.int64)
        return records.map(lambda record: self._cut(record, by), num_parallel_calls=tf.data.AUTOTUNE).unbatch()

    def _windows_of(self, serialised: tf.Tensor, shift: tf.Tensor) -> dict[str, tf.Tensor]:
        record = parse(serialised, self.features)
        starts, _ = tf.unique(record.starts)  # in order of first appearance
        starts = tf.boolean_mask(starts, starts < tf.cast(record.frame_count, tf.int64))  # (S,)
        here = (record.starts == starts[:, None]) & _last_of_its_pair(record)  # (S, R)
        ordinals = tf.where(here, self.ordinals(record.rated_labels), -1)
        # unbatch() crashes on windows of a video without labels, rows of no element at all: hence one that means none.
        video_ordinals = tf.concat([self.ordinals.known(record.labels), [-1]], axis=0)  # (L + 1,)
        cut = cut_windows(record, self.features, shift_starts(starts, record.frame_count, shift), self.context)
        return {
            **cut._asdict(),
            "ordinals": ordinals,
            "scores": tf.broadcast_to(record.scores, tf.shape(ordinals)),
            "video_ordinals": tf.broadcast_to(video_ordinals, (tf.size(starts), tf.size(video_ordinals))),
        }

    def _batches(self, windows: tf.data.Dataset, size: int) -> tf.data.Dataset:
        shapes = {"codes": (self.width, self.features.size), "frame_count": (), "before": ()}
        nothing = {"codes": np.uint8(0), "frame_count": np.int32(0), "before": np.int32(0)}
        shapes |= {"ordinals": (None,), "scores": (None,), "video_ordinals": (None,)}
        nothing |= {"ordinals": np.int32(-1), "scores": np.float32(0), "video_ordinals": np.int32(-1)}
        return windows.padded_batch(size, shapes, nothing)

    def _draw(self, batch: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """The batch as training sees it: with the frames that the stage's config asks for."""
        if self.stage.frame_draw == "all":
            return self._weighed(batch)
        if self.stage.frame_draw == "context":
            return self._weighed({**batch, **draw_context(batch, self.context, seed)})
        rows = draw_rows(self.stage, batch["frame_count"], seed)  # (B, W)
        drawn = {"codes": tf.gather(batch["codes"], rows, batch_dims=1)}
        return self._weighed({**batch, **drawn, "frame_count": tf.zeros_like(rows[:, 0]) + self.stage.frames})

    def _labelled(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The batch with its ratings spread over all classes."""
        labels = self._spread(batch["ordinals"], batch["scores"])
        weights = self._spread(batch["ordinals"], tf.ones_like(batch["scores"]))
        return {"codes": batch["codes"], "frame_count": batch["frame_count"], "labels": labels, "weights": weights}

    def _weighed(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The batch as training counts it."""
        labelled = self._labelled(batch)
        if self.masked:
            return labelled
        video_ordinals = batch["video_ordinals"]
        named = self._spread(video_ordinals, tf.ones_like(video_ordinals, tf.float32))
        # A label may stand twice in a record.
        in_video = tf.minimum(named, 1.0)
        labels, weights = weigh(
            self.stage.labels, labelled["labels"], labelled["weights"], in_video, self.class_weights
        )
        return {**labelled, "labels": labels, "weights": weights}

    def _spread(self, ordinals: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        """(B, C) float32: the values (B, K) at their classes, ordinals (B, K) with -1 for none; 0 elsewhere."""
        known = tf.where(ordinals >= 0)  # (pairs, 2)
        places = tf.stack([tf.cast(known[:, 0], tf.int32), tf.gather_nd(ordinals, known)], axis=1)
        shape = tf.stack([tf.shape(ordinals)[0], self.ordinals.classes])
        return tf.ensure_shape(tf.scatter_nd(places, tf.gather_nd(values, known), shape), (None, self.ordinals.classes))


def _last_of_its_pair(record: Record) -> tf.Tensor:
    """(R,) bool: False for a rating that a later one of the same segment and class replaces."""
    same = (record.starts[:, None] == record.starts) & (record.rated_labels[:, None] == record.rated_labels)
    later = tf.range(tf.size(record.starts)) > tf.range(tf.size(record.starts))[:, None]
    return ~tf.reduce_any(same & later, axis=1)
