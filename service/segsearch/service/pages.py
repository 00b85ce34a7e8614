"""What the library answers, before an edge writes it down.

Where it stands: `library` makes these from a view; `rest` turns them into bytes.

k hits of a page, S segments of a video, C classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from segsearch.core.bundle import Bundle
from segsearch.core.vocabulary import Entry
from segsearch.service.index.manifest import Manifest
from segsearch.service.index.paging import Bookmark

PART_TAGS: Final = 20_000


class Page(NamedTuple):
    """The best segments for one tag or several, all from one moment. Shared by all who ask for the same.

    A tuple, as a frozen dataclass takes several times as long to make, and a short search some 20 µs.
    """

    tags: list[Entry]  # that were asked for, each once
    generation: Manifest
    sequence: int  # of the last upload or deletion that it knows
    video_ids: Sequence[str]  # k of them
    starts: np.ndarray  # (k,), first frame
    codes: np.ndarray  # (k,) uint16 score codes, falling
    complete: bool  # False: fewer than asked for, as the kept lists don't tell what comes next
    following: Bookmark | None = None  # where the next page begins; None: there is none


@dataclass(frozen=True, slots=True, eq=False)
class MomentPage:
    """The same with adjacent segments as one moment; each ranks by its best segment."""

    tags: list[Entry]
    generation: Manifest
    sequence: int
    video_ids: list[str]  # m of them
    starts: np.ndarray  # (m,) int64, first frame
    ends: np.ndarray  # (m,) int64, frame behind the last
    peaks: np.ndarray  # (m,) int64, first frame of the best segment
    codes: np.ndarray  # (m,) uint16, falling: of the best segment
    complete: bool


@dataclass(frozen=True, slots=True, eq=False)
class Strip:
    """One video's scores over time."""

    video_id: str
    tags: list[Entry]  # R rows
    generation: Manifest
    sequence: int
    starts: np.ndarray  # (S,) int64, first frame
    codes: np.ndarray  # (R, S) uint16
    known: np.ndarray  # (R, S) bool: False where a score is not kept, as it is below all that the tag's list holds


@dataclass(frozen=True, slots=True, eq=False)
class ScoredVideo:
    """Every segment of one video with its best tags."""

    starts: np.ndarray  # (S,) int64, first frame
    classes: np.ndarray  # (S, top) int64 class ordinals, best first; ties by smaller ordinal
    probabilities: np.ndarray  # (S, top) float32
    bundle: Bundle  # whose model says so

    def parts(self) -> Iterator["ScoredVideo"]:
        """The same in parts of so few tags that an edge can make objects of each: a long video has millions."""
        step = max(1, PART_TAGS // max(1, self.classes.shape[1]))
        for first in range(0, len(self.starts), step):
            rows = slice(first, first + step)
            yield ScoredVideo(self.starts[rows], self.classes[rows], self.probabilities[rows], self.bundle)


@dataclass(frozen=True, slots=True, eq=False)
class SimilarPage:
    """The segments nearest to one, or to frames, all from one moment."""

    generation: Manifest
    sequence: int
    video_ids: list[str]  # k of them
    starts: np.ndarray  # (k,), first frame
    similarities: np.ndarray  # (k,) float32 cosines, falling
    recall: float  # share of the nearest that this index finds, as measured


@dataclass(frozen=True, slots=True)
class TagList:
    """Tags with the number of segments in each one's list, all from one moment."""

    generation: Manifest
    sequence: int
    counts: list[tuple[Entry, int]]
