"""What each of a bundle's models is worth: rated MAP@100k on shards that people have rated.

Where it stands: `packing` asks once all models are made; the metric is training's own, so that its figure before export
and those after it can be laid side by side.

S rated segments, P rated (segment, class) pairs, C classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from segsearch.core.bundle import Metric
from segsearch.core.errors import DataError
from segsearch.core.features import FeatureSpec
from segsearch.core.progress import progress, say
from segsearch.core.segments import SEGMENT_FRAMES, segment_count
from segsearch.core.videos import FRAME_CAP, Video, read_videos
from segsearch.core.vocabulary import Vocabulary
from segsearch.export.parity import ExportedModel
from segsearch.training.input.survey import RatedSegments
from segsearch.training.rated_map import RATED_MAP, RATED_PROTOCOL, rated_map

BATCH_SEGMENTS = 64


@dataclass(frozen=True, slots=True)
class RatedShards:
    """Where people's ratings lie, and what the split is called."""

    files: Sequence[Path]
    split: str


@dataclass(slots=True)
class _Ratings:
    """Ratings as they are met, and the codes that each model gave the rated segments."""

    vocabulary: Vocabulary
    ids: list[tuple[str, int]] = field(default_factory=list)
    pairs: dict[tuple[int, int], float] = field(default_factory=dict)  # row and class to score
    left_out: int = 0  # ratings of other classes, or of no segment that a video has

    def rows_of(self, video: Video) -> list[int]:
        """Notes a video's ratings; gives the numbers of its segments, among all it has, that are rated."""
        found: dict[int, int] = {}
        ratings = video.ratings
        for start, label, score in zip(ratings.starts.tolist(), ratings.labels, ratings.scores.tolist(), strict=True):
            number, beside = divmod(start, SEGMENT_FRAMES)
            if beside or not 0 <= number < segment_count(len(video.frames)) or label not in self.vocabulary:
                self.left_out += 1
                continue
            if number not in found:
                found[number] = len(self.ids)
                self.ids.append((video.id, start))
            self.pairs[found[number], self.vocabulary.ordinal_of(label)] = score  # a pair rated twice keeps the last
        return list(found)

    def segments(self) -> RatedSegments:
        keys = np.array(list(self.pairs), np.int64).reshape(-1, 2)
        scores = np.array(list(self.pairs.values()), np.float32)
        return RatedSegments(tuple(self.ids), keys[:, 0], keys[:, 1], scores, self.left_out)


def rated_metrics(
    models: Mapping[str, ExportedModel], shards: RatedShards, features: FeatureSpec, vocabulary: Vocabulary
) -> dict[str, Metric]:
    """Rated MAP@100k of each model, by the name it has in `models`, over the segments as an index would rank them.

    Raises DataError where no class has a positive rating.
    """
    ratings = _Ratings(vocabulary)
    codes: dict[str, list[np.ndarray]] = {name: [] for name in models}
    for videos, numbers in _batches(shards.files, features, ratings):
        for name, model in models.items():
            codes[name].append(model.codes(videos)[numbers])
    rated = ratings.segments()
    if not (rated.scores > 0).any():
        raise DataError(shards.files[0], None, "ratings", "no class with a positive rating", "at least one")
    if rated.left_out:
        say(f"{rated.left_out} ratings are of other classes, or of no segment, and are left out")
    values = {name: rated_map(np.concatenate(parts), rated) for name, parts in codes.items()}
    return {name: Metric(RATED_MAP, value, RATED_PROTOCOL, shards.split) for name, value in values.items()}


def _batches(
    files: Sequence[Path], features: FeatureSpec, ratings: _Ratings
) -> Iterator[tuple[list[np.ndarray], list[int]]]:
    """Rated videos, some at a time, and which of their segments, counted through, are rated."""
    videos: list[np.ndarray] = []
    numbers: list[int] = []
    count = 0
    with progress("rated MAP", None, "videos") as advance:
        for video in read_videos(files, features, cap=FRAME_CAP):
            advance()
            if not (rows := ratings.rows_of(video)):
                continue
            numbers += [count + row for row in rows]
            videos.append(video.frames)
            count += segment_count(len(video.frames))
            if count >= BATCH_SEGMENTS:
                yield videos, numbers
                videos, numbers, count = [], [], 0
    if videos:
        yield videos, numbers
