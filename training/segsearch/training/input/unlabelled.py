"""Segments that nobody labelled, to go beside labelled batches: what a mean teacher and its student must agree on.

Where it stands: `BesideUnlabelled` stands in for `segments.SegmentExamples` in a stage; `teachers` reads what it adds.
Each visit of a video shows a few of its segments, drawn at random and with replacement, so that a batch spans many
videos without a second shuffle of windows in memory. What an epoch shows follows from (seed, epoch) alone.

U unlabelled segments of a batch, W frames of a window, F codes a frame.
"""

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from segsearch.core.features import FeatureSpec
from segsearch.core.segments import SEGMENT_FRAMES
from segsearch.training.config import InputConfig
from segsearch.training.input.draw import seeded
from segsearch.training.input.segments import SegmentExamples
from segsearch.training.input.shards import Shards, as_written, parse
from segsearch.training.input.windows import cut_windows

SEGMENTS_A_VISIT = 5  # as many as a rated video usually has


class UnlabelledSegments:
    """Endless batches of windows `codes` (U, W, F) uint8 with all their frames, and `frame_count` (U,) int32."""

    def __init__(
        self,
        files: Sequence[Path],
        features: FeatureSpec,
        context: int,
        batch_size: int,
        config: InputConfig,
        seed: int,
    ):
        self.features, self.context, self.batch_size, self.seed = features, context, batch_size, seed
        self.shards = Shards(files, config, seed)
        self._drawn = tf.function(self._visit)  # as in `segments`

    def epoch(self, number: int, skip: int = 0) -> tf.data.Dataset:
        """The batches that go with one epoch of labelled ones, from batch `skip` on; they never end."""
        # A visit gives a fixed number of segments, so what was seen is passed over as records, unparsed.
        visits, windows = divmod(skip * self.batch_size, SEGMENTS_A_VISIT)
        records = self.shards.shuffled(number).repeat().enumerate().skip(visits)
        # Another seed than the labelled examples of the same place have.
        visit = seeded(self._drawn, self.seed + (1 << 24), number)
        segments = records.map(visit, num_parallel_calls=tf.data.AUTOTUNE).unbatch().skip(windows)
        return segments.batch(self.batch_size, drop_remainder=True)

    def _visit(self, serialised: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Windows of a few segments of one video."""
        record = parse(serialised, self.features)
        segments = -(-record.frame_count // SEGMENT_FRAMES)
        drawn = tf.random.stateless_uniform((SEGMENTS_A_VISIT,), seed, maxval=segments, dtype=tf.int32)
        cut = cut_windows(record, self.features, tf.cast(drawn, tf.int64) * SEGMENT_FRAMES, self.context)
        return {"codes": cut.codes, "frame_count": cut.frame_count}


class BesideUnlabelled:
    """Labelled batches that carry unlabelled segments as `unlabelled_codes` and `unlabelled_frame_count`."""

    def __init__(self, labelled: SegmentExamples, unlabelled: UnlabelledSegments):
        self.labelled, self.unlabelled = labelled, unlabelled

    def epoch(self, number: int, skip: int = 0) -> tf.data.Dataset:
        """One epoch of the labelled examples, from batch `skip` on."""
        pairs = tf.data.Dataset.zip(self.labelled.epoch(number, skip), self.unlabelled.epoch(number, skip))

        def beside(labelled, unlabelled):
            return {**labelled, **{f"unlabelled_{name}": value for name, value in unlabelled.items()}}

        return as_written(pairs.map(beside).prefetch(tf.data.AUTOTUNE))
