"""MAP@k of an index or of a submission, against people's ratings.

Both ways give the same figure: lists are cut at k, unrated segments dropped, and average precision is taken over what
is left (`core.ranking.segment_map` says where this comes from). From an index, rated segments are found by their
ordinals, so that no list of 100,000 ids is ever spelled out.

A class with a positive rating that the index or submission does not have counts 0, as in the challenge, and is
reported: leaving it out would reward a model for what it cannot do. Ratings of classes that are not there are counted
too, positive or not. `labels` restricts the mean on purpose.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segsearch.core.cli import emit
from segsearch.core.errors import DataError
from segsearch.core.progress import say
from segsearch.core.ranking import MAP_CUT, SegmentRatings, average_precision_of_hits
from segsearch.core.segments import parse_segment_id, segment_id
from segsearch.core.videos import Annotations, read_annotations
from segsearch.service.index.generation import Generation
from segsearch.service.submission import RankedClass


@dataclass(frozen=True, slots=True)
class Evaluation:
    """MAP@k, and what it stands on."""

    map: float  # nan if no class has a positive rating
    k: int
    classes: dict[int, float]  # average precision by label index, of every class that was judged
    missing_classes: list[int]  # judged, but not in the index or submission: they count 0
    rated_pairs: int  # of the judged classes
    found_pairs: int  # of these, how many stand within the first k of their class's list
    unjudged_pairs: int  # rated pairs of classes that the index or submission does not have, positive or not


class JudgedClass(NamedTuple):
    """A class's ratings met on the way down its list."""

    label_index: int
    hits: np.ndarray  # (rated,) bool, in rank order


def read_ratings(files: Iterable[Path]) -> SegmentRatings:
    """The ratings of rated shards; frames are left alone, so records without any will do."""
    return SegmentRatings(pair for video in read_annotations(files) for pair in _pairs(video))


def evaluate_generation(
    generation: Generation, ratings: SegmentRatings, k: int = MAP_CUT, labels: Iterable[int] | None = None
) -> Evaluation:
    """Judges an index."""
    return _evaluation(_judge_generation(generation, ratings, k), ratings, k, labels)


def evaluate_submission(
    ranked: Iterable[RankedClass], ratings: SegmentRatings, k: int = MAP_CUT, labels: Iterable[int] | None = None
) -> Evaluation:
    """Judges a submission, class by class as it is read."""
    judged = (JudgedClass(label, ratings.hits(label, segments[:k])) for label, segments in ranked)
    return _evaluation(judged, ratings, k, labels)


def report(found: Evaluation, ratings_file: Path, *, per_class: bool) -> None:
    """One JSON line with the figure, before it one for each class if wanted; what weakens the figure goes to stderr.

    Raises DataError, naming the first file of ratings, if there was nothing to judge.
    """
    if not found.classes:
        raise DataError(ratings_file, None, "ratings", "no class with a positive rating", "at least one")
    if found.missing_classes:
        say(f"{len(found.missing_classes)} of {len(found.classes)} judged classes are not ranked at all and count 0: "
            f"label {found.missing_classes[0]} first")  # fmt: skip
    if found.unjudged_pairs:
        say(f"{found.unjudged_pairs} rated pairs are of classes that are not ranked here: nothing can be said of them")
    if not found.found_pairs:
        say(f"none of {found.rated_pairs} rated segments is in the ranked lists: are these ratings of the same videos?")
    if per_class:
        for label, value in sorted(found.classes.items()):
            emit(label_index=label, average_precision=value)
    emit(
        map=found.map, k=found.k, classes=len(found.classes), missing_classes=len(found.missing_classes),
        rated_pairs=found.rated_pairs, found_pairs=found.found_pairs, unjudged_pairs=found.unjudged_pairs,
    )  # fmt: skip


def _judge_generation(generation: Generation, ratings: SegmentRatings, k: int) -> Iterator[JudgedClass]:
    for label, rated in ratings.by_class.items():
        if label in generation.vocabulary:
            ordinals, shows = _rated_ordinals(generation, rated)
            postings, _ = generation.postings(generation.vocabulary.ordinal_of(label), k)
            yield JudgedClass(label, _hits(ClassPostings(postings, ordinals, shows)))


class ClassPostings(NamedTuple):
    """One class's list, and which of all segments were rated for it."""

    postings: np.ndarray  # (k,) segment ordinals, best first
    rated: np.ndarray  # (R,) int64 segment ordinals, rising
    shows: np.ndarray  # (R,) bool


def _hits(judged: ClassPostings) -> np.ndarray:
    """(rated,) bool in rank order: the ratings of those postings that have one."""
    if not len(judged.rated):
        return np.empty(0, bool)
    at = np.searchsorted(judged.rated, judged.postings)
    at = np.minimum(at, len(judged.rated) - 1)
    hits: np.ndarray = judged.shows[at[judged.rated[at] == judged.postings]]
    return hits


def _rated_ordinals(generation: Generation, rated: dict[str, bool]) -> tuple[np.ndarray, np.ndarray]:
    """Ordinals (R,), rising, and ratings (R,) of the rated segments that the index has."""
    starts_by_video: dict[str, list[int]] = {}
    shows: list[bool] = []
    for segment in rated:
        video_id, start = parse_segment_id(segment)
        starts_by_video.setdefault(video_id, []).append(start)
    parts = [generation.ordinals_of(video_id, np.array(starts)) for video_id, starts in starts_by_video.items()]
    for video_id, starts in starts_by_video.items():
        shows += [rated[segment_id(video_id, start)] for start in starts]
    ordinals, answers = np.concatenate(parts), np.array(shows, bool)
    order = np.argsort(ordinals, kind="stable")
    order = order[ordinals[order] >= 0]
    return ordinals[order], answers[order]


def _evaluation(
    judged: Iterable[JudgedClass], ratings: SegmentRatings, k: int, labels: Iterable[int] | None
) -> Evaluation:
    chosen = ratings.by_class if labels is None else [label for label in labels if label in ratings.by_class]
    wanted = [label for label in chosen if ratings.positives(label)]
    judged_labels, not_ranked, nothing = frozenset(wanted), set(chosen), np.empty(0, bool)
    hits: dict[int, np.ndarray] = {}
    for label, found in judged:
        not_ranked.discard(label)
        if label in judged_labels:
            hits[label] = found
    classes = {label: average_precision_of_hits(hits.get(label, nothing), ratings.positives(label)) for label in wanted}
    return Evaluation(
        map=float(np.mean(list(classes.values()))) if classes else float("nan"),
        k=k,
        classes=classes,
        missing_classes=sorted(judged_labels - set(hits)),
        rated_pairs=sum(len(ratings.by_class[label]) for label in wanted),
        found_pairs=sum(map(len, hits.values())),
        unjudged_pairs=sum(len(ratings.by_class[label]) for label in not_ranked),
    )


def _pairs(video: Annotations) -> Iterator[tuple[str, int, float]]:
    ratings = video.ratings
    for start, label, score in zip(
        ratings.starts.tolist(), ratings.labels.tolist(), ratings.scores.tolist(), strict=True
    ):
        yield segment_id(video.id, start), label, score
