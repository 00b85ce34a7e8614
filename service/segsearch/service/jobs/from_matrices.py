"""A generation from score matrices: what several networks said of every segment, averaged, without scoring again.

Matrices -> mean score codes, a block of rows at a time -> selection -> generation -> CURRENT. Memory follows the kept
postings, not the matrices: these stay mapped.

Probabilities are averaged unless told otherwise, as the paper does: a network that is sure is heard even where others
have never seen the like. A mean of logits lets one network's very low score outvote all the rest.

N segments, C classes.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

import numpy as np

from segsearch.core.errors import ConfigError, MatrixRefused, VocabularyMismatch
from segsearch.core.progress import progress, say
from segsearch.core.score_codes import LOGITS, encode_logits, encode_probabilities
from segsearch.core.score_matrix import ScoreMatrix, check_same_segments
from segsearch.core.segments import SEGMENT_FRAMES
from segsearch.core.vocabulary import Vocabulary
from segsearch.service.index.format import GENERATIONS_CAP, GENERATIONS_KEPT, KEEP_CAP
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.kernel_selection import SelectionChoice, Selector, selection_for
from segsearch.service.index.manifest import Blend, BlendPart, BundleName, Manifest, Skipped
from segsearch.service.index.writer import GenerationWriter, Origin

Way = Literal["probability", "logit"]

_BLOCK_CODES: Final = 1 << 20  # codes averaged together
# float64, as float32 ends at logit 17: what is above would tie.
_PROBABILITIES: Final = 1 / (1 + np.exp(-LOGITS.astype(np.float64)))  # (65536,)


@dataclass(frozen=True, slots=True, eq=False)
class Mean:
    """Matrices over the same segments and classes, with what each of them counts."""

    matrices: tuple[ScoreMatrix, ...]
    weights: tuple[float, ...]  # of each matrix; they add up to 1
    way: Way

    @classmethod
    def of(cls, paths: Sequence[Path], weights: Sequence[float] = (), way: Way = "probability") -> "Mean":
        """Opens and verifies the matrices. weights: one for each, equal ones unless told.

        Raises ConfigError for weights that do not go with them, MatrixRefused naming the first matrix that is damaged,
        empty, of other segments or classes than the first, or without some segments of a video.
        """
        weights = weights or [1.0] * len(paths)
        if not paths or len(weights) != len(paths):
            raise ConfigError("weights", len(weights), f"one for each of {len(paths)} matrices, at least one")
        if not all(np.isfinite(weights)) or min(weights) < 0 or not sum(weights):
            raise ConfigError("weights", list(weights), "numbers from 0 up, not all of them 0")
        counted = [(path, weight) for path, weight in zip(paths, weights, strict=True) if weight]
        matrices = tuple(ScoreMatrix.open(path) for path, _ in counted)
        for matrix in matrices:
            check_same_segments(matrices[0], matrix)
            matrix.verify()
        _check_table(matrices[0])
        total = sum(weights)
        return cls(matrices, tuple(weight / total for _, weight in counted), way)

    def blocks(self) -> Iterator[np.ndarray]:
        """Mean score codes (S, C) uint16 of all segments, in their order."""
        first = self.matrices[0].codes
        rows = max(1, _BLOCK_CODES // first.shape[1])
        for start in range(0, len(first), rows):
            yield self._mean([matrix.codes[start : start + rows] for matrix in self.matrices])

    def _mean(self, parts: list[np.ndarray]) -> np.ndarray:
        if len(parts) == 1:
            return parts[0]  # nothing is rounded twice
        table = LOGITS if self.way == "logit" else _PROBABILITIES
        mean = np.zeros(parts[0].shape)
        for part, weight in zip(parts, self.weights, strict=True):
            mean += table[part] * weight
        return encode_logits(mean) if self.way == "logit" else encode_probabilities(np.minimum(mean, 1.0))

    def blend(self) -> Blend:
        """What the generation's manifest says of where it comes from."""
        parts = zip(self.matrices, self.weights, strict=True)
        return Blend(
            self.way, tuple(BlendPart(matrix.path.name, matrix.about.checkpoint, weight) for matrix, weight in parts)
        )


@dataclass(frozen=True, slots=True)
class Indexed:
    """What was made of the matrices."""

    manifest: Manifest
    seconds: float


def index_matrices(
    mean: Mean,
    vocabulary: Vocabulary,
    index: IndexDirectory,
    *,
    name: str = "matrices",
    keep: int,
    scores: bool = False,
    keep_generations: int = GENERATIONS_KEPT,
    selection: SelectionChoice = "auto",
    threads: int = 1,
) -> Indexed:
    """Selects the best of every class and publishes the generation.

    vocabulary: the matrices' classes, by `vocabulary_of`. name: stands for the bundle in answers. The other keywords
    are those of `reindex`. Raises ConfigError or IndexBusy.
    """
    started = time.monotonic()
    ConfigError.check_range("keep", keep, 1, KEEP_CAP)
    ConfigError.check_range("keep_generations", keep_generations, 1, GENERATIONS_CAP)
    first = mean.matrices[0]
    best = selection_for(len(vocabulary), keep, len(first), selection, threads)
    with index.building() as building:
        with GenerationWriter(building.directory, _origin(mean, vocabulary, name), keep, scores=scores) as writer:
            _add_videos(first, writer)
            _select(mean, best, writer)
            for ordinals, codes in best.ranked():
                writer.add_postings(ordinals, codes)
            manifest = writer.seal(building.number, Skipped())
        index.publish(building, keep_generations)
    _warn(mean)
    return Indexed(manifest, time.monotonic() - started)


def vocabulary_of(matrix: ScoreMatrix, names: Vocabulary, source: str) -> Vocabulary:
    """The matrix's classes with their names from a vocabulary that has them all; raises VocabularyMismatch."""
    labels = matrix.label_indices.tolist()
    if all(label in names for label in labels):
        found = names.subset(labels)
        if found.digest == matrix.about.vocabulary_digest:
            return found
    thing = f"score matrix {matrix.path}"
    raise VocabularyMismatch(thing, matrix.about.vocabulary_digest, source, names.digest)


def _check_table(matrix: ScoreMatrix) -> None:
    """A generation finds a video's segments by counting, so all must be there, in order."""
    if not len(matrix):
        raise MatrixRefused(matrix.path, "no segment", "at least one")
    videos = matrix.segment_videos.astype(np.int64)
    firsts = np.searchsorted(videos, videos)
    wanted = (np.arange(len(matrix)) - firsts) * SEGMENT_FRAMES
    wrong = np.flatnonzero((matrix.segment_starts != wanted) | (np.diff(videos, prepend=0) < 0))
    if len(wrong):
        at = int(wrong[0])
        found = f"row {at}: a segment at {matrix.segment_starts[at]} of video {matrix.segment_videos[at]}"
        raise MatrixRefused(matrix.path, found, "every segment of a video, in order, and videos in order")


def _add_videos(matrix: ScoreMatrix, writer: GenerationWriter) -> None:
    bounds = np.searchsorted(matrix.segment_videos, np.arange(len(matrix.video_ids) + 1)).tolist()
    for video_id, (start, stop) in zip(matrix.video_ids.tolist(), pairwise(bounds), strict=True):
        if stop > start:
            writer.add_video(video_id, matrix.segment_starts[start:stop])


def _select(mean: Mean, best: Selector, writer: GenerationWriter) -> None:
    """One pass over the matrices: their mean to the selection and, if it keeps scores, to the writer."""
    lone = len(mean.matrices) == 1  # selected as it is mapped, which is faster
    if lone:
        best.add_matrix(mean.matrices[0].codes)
    if lone and not writer.keeps_scores:
        return
    with progress("from-matrices", len(mean.matrices[0]), "segments") as advance:
        for block in mean.blocks():
            if not lone:
                best.add(block)
            if writer.keeps_scores:
                writer.add_scores(block)
            advance(len(block), "")


def _origin(mean: Mean, vocabulary: Vocabulary, name: str) -> Origin:
    blend = mean.blend()
    parts = [[part.checkpoint, part.weight] for part in blend.parts]
    digest = hashlib.sha256(json.dumps([blend.way, parts, mean.matrices[0].table_digest]).encode()).hexdigest()
    return Origin(BundleName(name, 1, digest), mean.matrices[0].about.feature_space, vocabulary, blend)


def _warn(mean: Mean) -> None:
    for matrix in mean.matrices:
        if not matrix.about.held_out:
            say(f"{matrix.path}: its network learned from ratings of these shards, so that they cannot judge the index")
