"""A score matrix that no network made: four videos, one of them without a segment, and three classes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segsearch.core.score_matrix import About, ScoreMatrix, VideoScores, write_score_matrix
from segsearch.core.vocabulary import Entry, Vocabulary

VOCABULARY = Vocabulary(Entry(label, f"class {label}") for label in (4, 0, 9))
ABOUT = About(
    run="trial", stage="fold1", checkpoint="ab" * 32, fold=1, vocabulary_digest=VOCABULARY.digest,
    feature_space="youtube8m/audio128/-2..2", context_frames=5, shift=0, shards=("validate01.tfrecord",),
    trained_on=("validate00.tfrecord", "validate02.tfrecord"),
)  # fmt: skip
VIDEOS = [
    VideoScores("aaaa", np.array([0, 5, 10]), np.arange(9, dtype=np.uint16).reshape(3, 3)),
    VideoScores("ünü", np.array([0]), np.full((1, 3), 65535, np.uint16)),
    VideoScores("none", np.empty(0, np.int64), np.empty((0, 3), np.uint16)),
    VideoScores("cccc", np.array([0, 5]), np.full((2, 3), 7, np.uint16)),
]


def written(path: Path, about: About = ABOUT, videos: Sequence[VideoScores] = VIDEOS) -> ScoreMatrix:
    """The matrix, from the file that it was just written to."""
    write_score_matrix(path, about, VOCABULARY, iter(videos))
    return ScoreMatrix.open(path)
