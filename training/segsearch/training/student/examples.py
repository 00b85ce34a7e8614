"""A student's examples: every segment of its videos with context, its teachers' logits, and ratings where there are.

Where it stands: in the place of `input.segments.SegmentExamples` in a stage. Windows come through TensorFlow; what is
said of them is looked up by row in `lessons`, a batch at a time, so that matrices stay mapped files of any size.

B segments of a batch, S of a video, W frames of a window, F codes a frame, C classes.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from segsearch.core.features import FeatureSpec
from segsearch.core.segments import SEGMENT_FRAMES
from segsearch.training.config import InputConfig, StageConfig
from segsearch.training.input.draw import draw_context, draw_rows
from segsearch.training.input.shards import Shards, parse
from segsearch.training.input.windows import cut_windows
from segsearch.training.student.lessons import Lessons


class Reading(NamedTuple):
    """How windows are read."""

    features: FeatureSpec
    context: int
    stage: StageConfig
    config: InputConfig
    seed: int


class TaughtSegments:
    """Batches of `codes` (B, W, F) uint8, `frame_count` (B,) int32, `labels`, `weights` and `teacher` (B, C) float32.

    What an epoch shows follows from (seed, epoch) alone.
    """

    def __init__(self, lessons: Lessons, reading: Reading):
        self.lessons, self.reading = lessons, reading
        self.classes = len(lessons.matrices[0].label_indices)
        self.shards = Shards(lessons.shards, reading.config, reading.seed)

    def epoch(self, number: int, skip: int = 0) -> tf.data.Dataset:
        """One epoch's training batches from batch `skip` on."""
        reading = self.reading
        windows = self.shards.shuffled(number).map(self._windows, num_parallel_calls=tf.data.AUTOTUNE).unbatch()
        windows = windows.shuffle(
            reading.config.shuffle_segments, seed=reading.seed + number, reshuffle_each_iteration=False
        )
        batches = windows.batch(reading.stage.batch_size).enumerate().skip(skip)

        def example(position, batch):
            seed = tf.stack([tf.constant((reading.seed << 16) + number, tf.int64), position])
            return {**self._drawn(batch, seed), **self._said(batch["row"])}

        return batches.map(example, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    def _windows(self, serialised: tf.Tensor) -> dict[str, tf.Tensor]:
        """A record's segments, each with its row in the lessons."""
        record = parse(serialised, self.reading.features)
        context, _ = tf.io.parse_single_sequence_example(serialised, {"id": tf.io.FixedLenFeature((), tf.string)})
        first, known = tf.numpy_function(self._rows_of, [context["id"]], (tf.int64, tf.int64), stateful=False)
        count = tf.cast(-(-record.frame_count // SEGMENT_FRAMES), tf.int64)
        with tf.control_dependencies([tf.debugging.assert_equal(tf.reshape(known, ()), count, "segments of a video")]):
            places = tf.range(count)  # (S,)
        cut = cut_windows(record, self.reading.features, places * SEGMENT_FRAMES, self.reading.context)
        return {**cut._asdict(), "row": tf.reshape(first, ()) + places}

    def _rows_of(self, video: bytes) -> tuple[np.int64, np.int64]:
        first, count = self.lessons.rows_of_videos.get(video.decode("utf-8", "replace"), (0, 0))
        return np.int64(first), np.int64(count)

    def _drawn(self, batch: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """The frames that the stage shows of each window."""
        stage = self.reading.stage
        codes, count = batch["codes"], batch["frame_count"]
        width = SEGMENT_FRAMES + 2 * self.reading.context
        codes = tf.ensure_shape(codes, (None, width, self.reading.features.size))
        if stage.frame_draw == "all":
            return {"codes": codes, "frame_count": count}
        if stage.frame_draw == "context":
            return draw_context(
                {"codes": codes, "frame_count": count, "before": batch["before"]}, self.reading.context, seed
            )
        rows = draw_rows(stage, count, seed)
        return {"codes": tf.gather(codes, rows, batch_dims=1), "frame_count": tf.zeros_like(rows[:, 0]) + stage.frames}

    def _said(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        """What teachers and people say of these rows."""

        def look_up(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            return self.lessons.logits(rows), *self.lessons.ratings(rows)

        found = tf.numpy_function(look_up, [rows], (tf.float32,) * 3, stateful=False)
        shaped = [tf.ensure_shape(part, (None, self.classes)) for part in found]
        return dict(zip(("teacher", "labels", "weights"), shaped, strict=True))
