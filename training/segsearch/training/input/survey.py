"""A look at the shards before training starts, and at the fault when reading fails: plain readers, no TensorFlow.

Training reads shards through TensorFlow, in C++ threads and in any number; but its errors name neither file nor
record. So the plain reader of `core.videos` says what is wrong: for rated shards record by record beforehand (they are
few, and read ten times over), for training shards at their framing and first record beforehand (all of YouTube-8M
cannot be read twice), and at any record once TensorFlow has stumbled.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segsearch.core.errors import BadRecord, DataError, InvalidInput
from segsearch.core.features import FeatureSpec
from segsearch.core.records import count_records, read_records
from segsearch.core.videos import FRAME_CAP, Video, parse_video
from segsearch.core.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True, eq=False)
class RatedSegments:
    """The rated segments of some shards in the order in which `segments` delivers them, and their ratings.

    S segments, P pairs of a segment and a class, each pair once.
    """

    ids: tuple[tuple[str, int], ...]  # (S,) video id and start frame
    rows: np.ndarray  # (P,) int64, which segment
    ordinals: np.ndarray  # (P,) int64, which class
    scores: np.ndarray  # (P,) float32, above 0 for yes
    left_out: int  # segments that are rated but lie behind frame 300, where reading stops

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def joined(cls, parts: Sequence["RatedSegments"]) -> "RatedSegments":
        """The segments of several shards or folds, one after the other."""
        offsets = np.cumsum([0, *map(len, parts)])[:-1]
        return cls(
            tuple(itertools.chain.from_iterable(part.ids for part in parts)),
            np.concatenate([part.rows + offset for part, offset in zip(parts, offsets, strict=True)]),
            np.concatenate([part.ordinals for part in parts]),
            np.concatenate([part.scores for part in parts]),
            left_out=sum(part.left_out for part in parts),
        )


def survey_training(files: Sequence[Path], features: FeatureSpec, vocabulary: Vocabulary, labelled: bool = True) -> int:
    """How many videos the training shards hold. Raises BadRecord or BadShard if a shard's first record is unusable."""
    total = 0
    for path in files:
        total += count_records(path)
        next(_checked_videos([path], features, vocabulary, None, labelled), None)
    if not total:
        raise DataError(files[0], None, "records", "none in any shard", "at least one video")
    return total


def survey_ratings(
    path: Path, features: FeatureSpec, vocabulary: Vocabulary, segment_vocabulary: Vocabulary, labelled: bool = False
) -> RatedSegments:
    """Reads and checks every record of a rated shard; raises BadRecord or BadShard.

    labelled: a record without video labels is bad.
    """
    ids: list[tuple[str, int]] = []
    pairs: dict[tuple[int, int], float] = {}
    left_out = 0
    for video in _checked_videos([path], features, vocabulary, segment_vocabulary, labelled):
        starts = list(dict.fromkeys(video.ratings.starts.tolist()))  # in order of first appearance
        inside = [start for start in starts if start < len(video.frames)]
        left_out += len(starts) - len(inside)
        row_of = {start: len(ids) + row for row, start in enumerate(inside)}
        ids.extend((video.id, start) for start in inside)
        ratings = video.ratings
        for start, label, score in zip(ratings.starts.tolist(), ratings.labels, ratings.scores.tolist(), strict=True):
            if start in row_of:
                pairs[row_of[start], segment_vocabulary.ordinal_of(label)] = score  # a pair rated twice keeps the last
    keys = np.array(list(pairs), np.int64).reshape(-1, 2)
    return RatedSegments(tuple(ids), keys[:, 0], keys[:, 1], np.array(list(pairs.values()), np.float32), left_out)


def explain(
    files: Iterable[Path],
    features: FeatureSpec,
    vocabulary: Vocabulary,
    segment_vocabulary: Vocabulary | None,
    labelled: bool = False,
) -> DataError | None:
    """The first fault in these shards as an error that names file, record and field; None if there is none."""
    try:
        for _ in _checked_videos(files, features, vocabulary, segment_vocabulary, labelled):
            pass
    except DataError as error:
        return error
    return None


def _checked_videos(
    files: Iterable[Path],
    features: FeatureSpec,
    vocabulary: Vocabulary,
    segment_vocabulary: Vocabulary | None,
    labelled: bool = False,
) -> Iterator[Video]:
    """Videos whose labels are in the vocabulary; with `segment_vocabulary`, their rated classes in that one."""
    for path in files:
        for number, payload in enumerate(read_records(path)):
            if isinstance(payload, BadRecord):
                raise payload
            yield checked_video(path, number, payload, features, vocabulary, segment_vocabulary, labelled)


def checked_video(
    path: Path,
    number: int,
    payload: bytes,
    features: FeatureSpec,
    vocabulary: Vocabulary,
    segment_vocabulary: Vocabulary | None,
    labelled: bool = False,
) -> Video:
    """Record `number` of a shard; raises BadRecord where it cannot be trained on."""
    try:
        video = parse_video(payload, features, cap=FRAME_CAP)
        if video.labels is not None:
            _check("labels", video.labels, vocabulary)
        if labelled and (video.labels is None or not len(video.labels)):
            # Trained on, it would be a no to every class.
            found = "missing" if video.labels is None else "an empty list"
            raise InvalidInput("labels", found, "the video's label indices, to train on")
        if segment_vocabulary is not None:
            _check("segment_labels", video.ratings.labels, segment_vocabulary)
    except InvalidInput as error:
        raise BadRecord(path, number, error.field, error.found, error.wanted) from None
    return video


def _check(field: str, labels: np.ndarray, vocabulary: Vocabulary) -> None:
    outside = [int(label) for label in labels if label not in vocabulary]
    if outside:
        raise InvalidInput(field, f"label {outside[0]} is outside the vocabulary", vocabulary.extent())
