"""Answers a query from a view: one tag or several, from a lowest score up, so many segments of a video, or moments.

Where it stands: `expression` says what was asked, `view` what there is; `library` names tags and videos.

Several tags are exact, too. A segment that a class's kept list leaves out has at most the list's last code: so each
segment's own code lies between two bounds, and the answer goes as far as these leave no doubt about the order. With the
score matrix of the generation there is none.

k what was asked for, n segments looked at.
"""

from dataclasses import dataclass

import numpy as np

from segsearch.core.score_codes import HIGHEST
from segsearch.core.segments import SEGMENT_FRAMES
from segsearch.core.vocabulary import ClassOrdinal
from segsearch.service.index.expression import Bounds, Expression, Tag, combine, tags_of
from segsearch.service.index.view import Ranked, View

_DENSE_ROWS = 1 << 16  # rows of a score matrix combined together


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Runs of adjacent segments of one video, that with the best segment first."""

    peaks: np.ndarray  # (m,) int64: the place of each one's best segment
    codes: np.ndarray  # (m,) uint16, falling: that segment's code
    starts: np.ndarray  # (m,) int64, first frame
    ends: np.ndarray  # (m,) int64, frame behind the last segment


def ranked(view: View, asked: Expression, k: int, *, lowest: int = 0, per_video: int | None = None) -> Ranked:
    """The k best segments for an expression, with codes from `lowest` up, at most `per_video` of each video."""
    if per_video is None:
        return _best(view, asked, k, lowest)
    reach = k
    while True:
        found = _best(view, asked, reach, lowest)
        within = np.flatnonzero(_ranks_in_group(view.videos(found.places)) < per_video)[:k]
        if len(within) == k or len(found.codes) < reach:
            return Ranked(found.places[within], found.codes[within], len(within) == k or found.complete)
        reach *= 2


def moments(view: View, found: Ranked) -> Moments:
    """Adjacent segments among those found become one moment; it ranks by its best segment."""
    videos = view.videos(found.places)
    starts = view.starts(found.places)
    order = np.lexsort((starts, videos))
    if not len(order):
        return Moments(found.places, found.codes, starts, starts)
    breaks = (np.diff(videos[order]) != 0) | (np.diff(starts[order]) != SEGMENT_FRAMES)
    first = np.flatnonzero(np.concatenate([[True], breaks]))
    last = np.concatenate([first[1:], [len(order)]]) - 1
    peaks = np.minimum.reduceat(order, first)  # the smallest rank of each run
    by_rank = np.argsort(peaks)
    best, first, last = peaks[by_rank], order[first[by_rank]], order[last[by_rank]]
    return Moments(found.places[best], found.codes[best], starts[first], starts[last] + SEGMENT_FRAMES)


def _best(view: View, asked: Expression, k: int, lowest: int) -> Ranked:
    if isinstance(asked, Tag):
        return view.best(asked.ordinal, k, lowest)
    if view.generation.scores is not None:
        return _dense(view, asked, k, lowest)
    return _from_lists(view, asked, k, lowest)


def _from_lists(view: View, asked: Expression, k: int, lowest: int) -> Ranked:
    """From the kept lists and the delta: as many as these put in order for certain."""
    lists = {ordinal: view.listed(ordinal) for ordinal in tags_of(asked)}
    candidates = np.unique(np.concatenate([ordinals for ordinals, _, _ in lists.values()])).astype(np.int64)

    def bounds(ordinal: ClassOrdinal) -> Bounds:
        ordinals, codes, beyond = lists[ordinal]
        least, most = np.zeros(len(candidates), np.int32), np.full(len(candidates), max(beyond, 0), np.int32)
        rows = np.searchsorted(candidates, ordinals)
        least[rows] = most[rows] = codes
        return least, most

    least, most = combine(asked, bounds)
    unseen = -1  # the highest code that a segment may have which no list holds
    if all(beyond >= 0 for _, _, beyond in lists.values()):
        _, highest = combine(asked, lambda ordinal: (np.zeros(1, np.int32), np.array([lists[ordinal][2]], np.int32)))
        unseen = int(highest[0])
    doubtful = most[least != most]
    floor = max(unseen, int(doubtful.max(initial=-1))) + 1  # from here up the order is certain
    sure = np.flatnonzero((least == most) & (least >= max(floor, lowest)))
    live, live_codes = _live_codes(view, asked)
    reaching = live_codes >= max(floor, lowest)
    places = np.concatenate([candidates[sure], live[reaching]])
    codes = np.concatenate([least[sure], live_codes[reaching]])
    order = np.argsort(HIGHEST - codes, kind="stable")[:k]
    return Ranked(places[order], codes[order].astype(np.uint16), len(order) == k or floor <= lowest)


def _dense(view: View, asked: Expression, k: int, lowest: int) -> Ranked:
    """From the scores of everything."""
    matrix = view.generation.scores
    assert matrix is not None
    places, codes = [], []
    for start in range(0, view.base_count, _DENSE_ROWS):
        block = matrix[start : start + _DENSE_ROWS]
        combined = _exactly(asked, {ordinal: block[:, ordinal] for ordinal in tags_of(asked)})
        rows = np.flatnonzero((combined >= lowest) & view.shown(start, start + len(block)))
        rows = rows[np.argsort(HIGHEST - combined[rows], kind="stable")[:k]]
        places.append(start + rows)
        codes.append(combined[rows])
    live, live_codes = _live_codes(view, asked)
    places.append(live[live_codes >= lowest])
    codes.append(live_codes[live_codes >= lowest])
    merged = np.concatenate(codes)
    order = np.argsort(HIGHEST - merged, kind="stable")[:k]
    return Ranked(np.concatenate(places)[order], merged[order].astype(np.uint16), True)


def _live_codes(view: View, asked: Expression) -> tuple[np.ndarray, np.ndarray]:
    """Places and combined codes of all live segments: places (n,) int64, codes (n,) int32."""
    columns = np.flatnonzero(view.delta.alive)
    return view.base_count + columns, _exactly(
        asked, {ordinal: view.delta.codes[ordinal][columns] for ordinal in tags_of(asked)}
    )


def _exactly(asked: Expression, codes: dict[ClassOrdinal, np.ndarray]) -> np.ndarray:
    def bounds(ordinal: ClassOrdinal) -> Bounds:
        known = codes[ordinal].astype(np.int32)
        return known, known

    return combine(asked, bounds)[0]


def _ranks_in_group(groups: np.ndarray) -> np.ndarray:
    """(n,) int64: how many of the same group come before each."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(ordered) else order
    lengths = np.diff(np.concatenate([first, [len(ordered)]]))
    ranks = np.empty(len(groups), np.int64)
    ranks[order] = np.arange(len(ordered)) - np.repeat(first, lengths)
    return ranks
