"""How far two generations differ: for each tag, which segments both list, and how far those moved.

Where it stands: `segsearch index compare` asks before a switch or after one, and both edges do through `Comparisons`;
`evaluation` judges both where people's ratings are given. Segments are told apart by video id and start, as ordinals
mean nothing outside their generation; tags by label index, as vocabularies may differ.

N segments, V videos, k postings of a list.
"""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from segsearch.core.errors import NoTagInCommon, TooManyCalls
from segsearch.core.ranking import MAP_CUT, SegmentRatings
from segsearch.core.vocabulary import Entry
from segsearch.service.evaluation import Evaluation, evaluate_generation
from segsearch.service.index.format import OFFSETS, ORDINALS, SEGMENT_VIDEOS, VIDEO_ID_OFFSETS, VIDEO_IDS
from segsearch.service.index.generation import Generation
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.manifest import Manifest

# What an answer over a network has at most: segments of each list that are compared, and tags.
COMPARED_LIMIT: Final = 10_000
CHANGES_LIMIT: Final = 10_000
COMPARED: Final = 1000  # the same where nothing is asked for
CHANGES: Final = 100
_AT_ONCE: Final = 1
_READ: Final = (OFFSETS, ORDINALS, SEGMENT_VIDEOS, VIDEO_IDS, VIDEO_ID_OFFSETS)  # all that a comparison looks at


@dataclass(frozen=True, slots=True)
class TagChange:
    """What became of one tag's best k segments."""

    tag: Entry
    overlap: float  # segments that both lists have, as a share of the longer list; 1 where both are empty
    gone: int  # segments of the older list that the newer one lacks
    come: int
    median_move: float  # places between the ranks of a segment that both have; 0 where there is none
    largest_move: int
    average_precision: tuple[float, float] | None = None  # older, newer; None where the tag was not judged


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two generations side by side."""

    older: Manifest
    newer: Manifest
    k: int
    tags: list[TagChange]  # of the tags that both have, in the older one's order
    only_older: int  # tags that only one of them has
    only_newer: int
    judged: tuple[Evaluation, Evaluation] | None = None

    @property
    def mean_overlap(self) -> float:
        return float(np.mean([tag.overlap for tag in self.tags]))

    def most_changed(self, limit: int | None = None) -> list[TagChange]:
        """The tags, or `limit` of them: those of which least stayed first, and of these what moved farthest."""
        return sorted(self.tags, key=lambda tag: (tag.overlap, -tag.median_move))[:limit]


class Comparisons:
    """Compares generations of an index for whoever asks, one pair at a time: each takes a pass over their files."""

    def __init__(self, index: IndexDirectory):
        self._index, self._free = index, threading.BoundedSemaphore(_AT_ONCE)

    def of(self, older: int, newer: int, k: int) -> Comparison:
        """See `compare`; raises TooManyCalls, UnknownGeneration or GenerationCorrupt, too. k: 1 to COMPARED_LIMIT."""
        if not self._free.acquire(blocking=False):
            raise TooManyCalls(_AT_ONCE)
        try:
            opened = self._index.open(older), self._index.open(newer)
            for generation in opened:
                generation.verify(_READ)
            return compare(*opened, k)
        finally:
            self._free.release()


def compare(older: Generation, newer: Generation, k: int, ratings: SegmentRatings | None = None) -> Comparison:
    """Compares the best k segments of each tag; with ratings, MAP@100,000 of both too.

    Raises NoTagInCommon.
    """
    shared = [entry for entry in older.vocabulary.entries if entry.label_index in newer.vocabulary]
    if not shared:
        raise NoTagInCommon(older.number, newer.number)
    judged = None
    if ratings is not None:
        judged = (evaluate_generation(older, ratings, MAP_CUT), evaluate_generation(newer, ratings, MAP_CUT))
    precisions = (judged[0].classes, judged[1].classes) if judged else ({}, {})
    return Comparison(
        older.manifest,
        newer.manifest,
        k,
        list(_changes(older, newer, k, shared, precisions)),
        len(older.vocabulary) - len(shared),
        len(newer.vocabulary) - len(shared),
        judged,
    )


def tag_rows(found: Comparison) -> list[dict[str, Any]]:
    """A row a tag, what changed most first."""
    rows = []
    for change in found.most_changed():
        row = {
            "tag": change.tag.name, "label_index": change.tag.label_index, "overlap": change.overlap,
            "gone": change.gone, "come": change.come,
            "median_move": change.median_move, "largest_move": change.largest_move,
        }  # fmt: skip
        if found.judged is not None:
            before, after = change.average_precision or (None, None)
            row |= {"average_precision_before": before, "average_precision_after": after}
        rows.append(row)
    return rows


def summary(found: Comparison) -> dict[str, Any]:
    """All tags together."""
    facts: dict[str, Any] = {
        "k": found.k, "tags": len(found.tags), "mean_overlap": found.mean_overlap,
        "tags_only_before": found.only_older, "tags_only_after": found.only_newer,
    }  # fmt: skip
    if found.judged is not None:
        before, after = found.judged
        facts |= {
            "judged_tags": len(before.classes), "map_before": before.map, "map_after": after.map,
            "found_pairs_before": before.found_pairs, "found_pairs_after": after.found_pairs,
        }  # fmt: skip
    return facts


def ordinals_in(other: Generation, generation: Generation) -> np.ndarray:
    """(N,) int64: the ordinal in `other` of each of `generation`'s segments, -1 where it has none."""
    ids = other.video_ids(np.arange(other.manifest.video_count))
    video_of = {video_id: video for video, video_id in enumerate(ids)}
    own = generation.video_ids(np.arange(generation.manifest.video_count))
    videos = np.array([video_of.get(video_id, -1) for video_id in own], np.int64)[generation.segment_videos]
    bounds = np.searchsorted(other.segment_videos, np.arange(len(ids) + 1, dtype=other.segment_videos.dtype))
    firsts = np.searchsorted(generation.segment_videos, generation.segment_videos)
    rows = bounds[videos] + np.arange(len(videos)) - firsts  # segments of a video begin at 0, 5, 10 ... in both
    found: np.ndarray = np.where((videos >= 0) & (rows < bounds[videos + 1]), rows, -1)
    return found


def _changes(
    older: Generation,
    newer: Generation,
    k: int,
    tags: list[Entry],
    precisions: tuple[Mapping[int, float], Mapping[int, float]],
) -> Iterator[TagChange]:
    places = ordinals_in(newer, older)
    ranks = np.full(newer.manifest.segment_count, -1, np.int64)  # in the newer list of the tag at hand
    for tag in tags:
        before, _ = older.postings(older.vocabulary.ordinal_of(tag.label_index), k)
        after, _ = newer.postings(newer.vocabulary.ordinal_of(tag.label_index), k)
        ranks[after] = np.arange(len(after))
        now = np.where(places[before] >= 0, ranks[places[before]], -1)
        ranks[after] = -1
        moves = np.abs(now - np.arange(len(before)))[now >= 0]
        judged = tag.label_index in precisions[0]
        yield TagChange(
            tag,
            overlap=len(moves) / max(len(before), len(after)) if len(before) or len(after) else 1.0,
            gone=len(before) - len(moves),
            come=len(after) - len(moves),
            median_move=float(np.median(moves)) if len(moves) else 0.0,
            largest_move=int(moves.max(initial=0)),
            average_precision=(precisions[0][tag.label_index], precisions[1][tag.label_index]) if judged else None,
        )
