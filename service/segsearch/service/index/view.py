"""What a library holds at one moment: a generation, and over it what was uploaded and deleted since.

Where it stands: `library` takes one for each answer, `generation` and `live.delta` are what it is made of, `query` asks
it for several tags at once. It never changes, so that no answer mixes two moments. Nothing here knows about HTTP.

A *place* is a segment's number in a view: the generation's ordinals first, then the delta's columns. Equal codes rank
by place, so that a segment keeps its rank among its equals when compaction moves it into a generation.

C classes, N segments and V videos of the generation, D of the delta; k what was asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np

from segsearch.core.score_codes import HIGHEST
from segsearch.core.vocabulary import ClassOrdinal, Vocabulary
from segsearch.service.index.generation import Generation
from segsearch.service.index.live.delta import Delta, LiveDelta
from segsearch.service.index.live.store import LiveStore
from segsearch.service.index.manifest import Manifest
from segsearch.service.index.neighbours import Nearest

HEAD: Final = 128  # segments: what most people ask for, and one that tells whether there are more
_CUTS = 4  # lengths that pages of one class have at a time; people ask for the same
_SPARE = 64  # postings read beyond k where some may be hidden
_NONE = np.empty(0, np.intp)
_FEW = 64  # live segments that are not worth a sort of their own


class Ranked(NamedTuple):
    """The best segments for one question, best first."""

    places: np.ndarray  # (k,) int64
    codes: np.ndarray  # (k,) uint16, falling
    complete: bool  # False: there are more, but past here the kept lists don't say in which order


class Head(NamedTuple):
    """The best HEAD segments of one class, or all that its list tells, in the form answers have; without any where it
    would take everybody's scores to find them.
    """

    column_count: int  # D: how many live segments were looked at
    places: np.ndarray  # (n,) int64
    codes: np.ndarray  # (n,) uint16, falling
    video_ids: list[str]  # n of them
    starts: np.ndarray  # (n,) first frame
    cut: dict[int, list[str]]  # the first of the ids, by how many: see `first_ids`

    def first_ids(self, k: int) -> list[str]:
        """The ids of the k best. Pages of the same length share the list, which nobody may change: to make another one
        would fetch each id's text from memory, which takes longer than all the rest of a page.
        """
        found = self.cut.get(k)
        if found is None:
            if len(self.cut) == _CUTS:
                self.cut.clear()
            found = self.cut[k] = self.video_ids[:k]
        return found


@dataclass(frozen=True, eq=False)
class View:
    """One moment of a library."""

    generation: Generation
    delta: Delta
    hidden: np.ndarray  # (V,) bool: videos of the generation that were replaced or deleted since
    heads: list[Head | None]  # by class: those that were found, or taken over from a view before

    @classmethod
    def of(cls, generation: Generation, delta: Delta, before: "View | None" = None) -> "View":
        """Lays the delta over the generation that it follows. before: a view whose heads are taken over, if it has any
        that may still be right.
        """
        hidden = np.zeros(generation.manifest.video_count, bool)
        hidden[generation.video_ordinals(delta.changed)] = True
        view = cls(generation, delta, hidden, [None] * generation.manifest.class_count)
        if before is not None and view._adds_to(before):
            view.heads[:] = before.heads
        return view

    @property
    def vocabulary(self) -> Vocabulary:
        return self.generation.vocabulary

    @property
    def manifest(self) -> Manifest:
        """What the generation says of itself."""
        return self.generation.manifest

    @property
    def number(self) -> int:
        """The generation's."""
        return self.generation.number

    @property
    def sequence(self) -> int:
        """The last upload or deletion that is in here."""
        return self.delta.sequence

    @property
    def base_count(self) -> int:
        """N: places below it are the generation's."""
        return self.generation.manifest.segment_count

    @cached_property
    def segment_count(self) -> int:
        """Segments that can be found, of the generation and live."""
        gone = int(self.hidden[self.generation.segment_videos].sum()) if self._hides else 0
        return self.base_count - gone + int(self.delta.alive.sum())

    @cached_property
    def video_count(self) -> int:
        """Videos that can be found."""
        live = len(np.unique(self.delta.videos[self.delta.alive]))
        return len(self.hidden) - int(self.hidden.sum()) + live

    def best(self, ordinal: ClassOrdinal, k: int, lowest: int = 0) -> Ranked:
        """The k best segments of a class with codes from `lowest` up."""
        places, codes, floor = self._base(ordinal, k)
        if self._lives:
            places, codes = self._with_live(ordinal, k, max(floor, lowest), places, codes)
        if lowest:
            reaching = len(codes) - int(np.searchsorted(codes[::-1], lowest))
            places, codes = places[:reaching], codes[:reaching]
        return Ranked(places, codes, len(codes) == k or floor <= lowest)

    def head(self, ordinal: ClassOrdinal) -> Head:
        """The best of a class, found once: a later view takes it over unless an upload came among them.

        Any number of threads may ask: two that ask first both find the same.
        """
        head = self.heads[ordinal]
        if head is None or head.column_count != len(self.delta.alive):
            head = self.heads[ordinal] = self._head(ordinal, head)
        return head

    def find_heads(self) -> None:
        """Finds those of all classes now, so that no question need wait for one: 0.03 s for 1,000 classes,
        several times as long with many live segments.
        """
        for ordinal in range(len(self.heads)):
            self.head(ClassOrdinal(ordinal))

    def holds_best(self, ordinal: ClassOrdinal, k: int) -> bool:
        """Whether the k best of a class stand in its list, so that no scores beside it need be read."""
        listed = self.generation.posting_count(ordinal)
        return self.generation.scores is None or listed == self.base_count or (listed >= k and not self._hides)

    def count(self, ordinal: ClassOrdinal, lowest: int = 0) -> int:
        """How many segments with codes from `lowest` up a class's list holds."""
        ordinals, codes = self.generation.postings(ordinal, self.base_count)
        ordinals = ordinals[: len(codes) - int(np.searchsorted(codes[::-1], lowest))]
        live = (self.delta.codes[ordinal] >= lowest) & self.delta.alive
        return int(self._shown(ordinals).sum()) + int(live.sum())

    def listed(self, ordinal: ClassOrdinal) -> tuple[np.ndarray, np.ndarray, int]:
        """All of a class's list in the generation that can be found: ordinals (n,) uint32, codes (n,) uint16; and the
        highest code that a segment outside it may have, or -1 where there is none.
        """
        ordinals, codes = self.generation.postings(ordinal, self.base_count)
        shown = self._shown(ordinals)
        return ordinals[shown], codes[shown], -1 if len(ordinals) == self.base_count else _highest_behind(codes)

    def shown(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """(n,) bool: which of the generation's segments from `start` to before `stop` can be found."""
        shown: np.ndarray = ~self.hidden[self.generation.segment_videos[start:stop]]
        return shown

    def segments(self, places: np.ndarray) -> tuple[list[str], np.ndarray]:
        """Video ids and start frames (n,) of segments, given as (n,) places."""
        live = np.flatnonzero(places >= self.base_count) if self._lives else _NONE
        if not len(live):
            return self.generation.segments(places)
        columns, known = places[live] - self.base_count, places.copy()
        known[live] = 0
        ids, starts = self.generation.segments(known)
        starts[live] = self.delta.starts[columns]
        for row, video in zip(live.tolist(), self.delta.videos[columns].tolist(), strict=True):
            ids[row] = self.delta.ids[video]
        return ids, starts

    def starts(self, places: np.ndarray) -> np.ndarray:
        """First frames (n,) int64 of segments, given as (n,) places."""
        live = places >= self.base_count
        starts = self.generation.segment_starts[np.where(live, 0, places)].astype(np.int64)
        starts[live] = self.delta.starts[places[live] - self.base_count]
        return starts

    def ranks(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How segments, given as (n,) places, rank among equal codes, alike in every view of this generation: by upload
        (n,) int64, its sequence number or 0 for the generation's own, then by row (n,) int64, ordinal or first frame.
        """
        live = places >= self.base_count
        columns = places[live] - self.base_count
        uploads, rows = np.zeros(len(places), np.int64), places.astype(np.int64)
        uploads[live], rows[live] = self.delta.uploads[columns], self.delta.starts[columns]
        return uploads, rows

    def rank(self, place: int) -> tuple[int, int]:
        """The same of one segment: `ranks` takes longer than a whole short search."""
        if place < self.base_count:
            return 0, place
        column = place - self.base_count
        return int(self.delta.uploads[column]), int(self.delta.starts[column])

    def videos(self, places: np.ndarray) -> np.ndarray:
        """(n,) int64: a number of each segment's video, the same for the same video."""
        live = places >= self.base_count
        videos = self.generation.segment_videos[np.where(live, 0, places)].astype(np.int64)
        videos[live] = len(self.hidden) + self.delta.videos[places[live] - self.base_count].astype(np.int64)
        return videos

    def places_of(self, video_id: str) -> np.ndarray:
        """(S,) int64: the places of a video's segments in time order; none where the video cannot be found."""
        if video_id in self.delta.changed:
            columns = np.flatnonzero(self.delta.alive)
            return (
                self.base_count + columns[[self.delta.ids[video] == video_id for video in self.delta.videos[columns]]]
            )
        return self.generation.segments_of(video_id)

    def nearest(self, query: np.ndarray, k: int, but: int = -1) -> Nearest:
        """The k segments nearest to a unit vector (H,), of the generation's that can be found, without `but`.

        It must keep embeddings. Raises GenerationCorrupt or MissingExtra.
        """
        assert self.generation.neighbours is not None
        return self.generation.neighbours.nearest(query, k, lambda ordinals: self._shown(ordinals) & (ordinals != but))

    def strip(self, places: np.ndarray, ordinals: Sequence[ClassOrdinal]) -> tuple[np.ndarray, np.ndarray]:
        """Codes (R, S) uint16 of one video's segments, given as (S,) places, for R classes; and (R, S) bool where they
        are known: a generation without scores of everything knows those that its lists hold.
        """
        rows = [self._codes_of(places, ordinal) for ordinal in ordinals]
        shape = (len(ordinals), len(places))
        return np.array([codes for codes, _ in rows], np.uint16).reshape(shape), np.array(
            [known for _, known in rows], bool
        ).reshape(shape)

    def _codes_of(self, places: np.ndarray, ordinal: ClassOrdinal) -> tuple[np.ndarray, np.ndarray]:
        if places[0] >= self.base_count:
            return self.delta.codes[ordinal][places - self.base_count], np.ones(len(places), bool)
        if self.generation.scores is not None:
            return self.generation.scores[places, ordinal], np.ones(len(places), bool)
        ordinals, listed = self.generation.postings(ordinal, self.base_count)
        found = np.flatnonzero((ordinals >= places[0]) & (ordinals <= places[-1]))
        codes, known = np.zeros(len(places), np.uint16), np.zeros(len(places), bool)
        rows = ordinals[found].astype(np.int64) - places[0]
        codes[rows], known[rows] = listed[found], True
        return codes, known

    def _adds_to(self, before: "View") -> bool:
        """Whether all that could be found before still can, at the same places."""
        count = len(before.delta.alive)
        return (
            self.generation is before.generation
            and self.delta.origin is before.delta.origin  # or other scores came for what was there
            and np.array_equal(self.delta.uploads[:count], before.delta.uploads)
            and np.array_equal(self.delta.alive[:count], before.delta.alive)
            and np.array_equal(self.hidden, before.hidden)
        )

    def _head(self, ordinal: ClassOrdinal, before: Head | None) -> Head:
        column_count = len(self.delta.alive)
        if before is not None and len(before.codes) == HEAD:
            added = self.delta.codes[ordinal, before.column_count :]
            if not (added > before.codes[-1]).any():  # an equal one comes behind
                return before._replace(column_count=column_count)
        if self._takes_scores(ordinal, HEAD):
            return Head(column_count, np.empty(0, np.int64), np.empty(0, np.uint16), [], np.empty(0, np.int64), {})
        found = self.best(ordinal, HEAD)
        video_ids, starts = self.segments(found.places)
        return Head(column_count, found.places.astype(np.int64), found.codes.copy(), video_ids, starts, {})

    @cached_property
    def _hides(self) -> bool:
        return bool(self.hidden.any())

    @cached_property
    def _lives(self) -> bool:
        return bool(self.delta.alive.any())

    def _shown(self, ordinals: np.ndarray) -> np.ndarray:
        """(n,) bool: which segments of the generation can be found."""
        if not self._hides:
            return np.ones(len(ordinals), bool)
        shown: np.ndarray = ~self.hidden.take(self.generation.segment_videos.take(ordinals))
        return shown

    def _base(self, ordinal: ClassOrdinal, k: int) -> tuple[np.ndarray, np.ndarray, int]:
        """The generation's k best, and the lowest code that a live segment needs to rank with them for certain."""
        if not self._hides:
            ordinals, codes = self.generation.postings(ordinal, k)
            read = len(codes)
        else:
            ordinals, codes, read = self._shown_best(ordinal, k)
        if len(codes) == k:
            return ordinals, codes, int(codes[-1]) + 1  # an equal live one would come behind
        if read == self.base_count:
            return ordinals, codes, 0  # the list holds every segment that there is
        if self.generation.scores is not None:
            return *self._refilled(ordinal, k), 0
        _, last = self.generation.postings(ordinal, read)
        return ordinals, codes, _highest_behind(last) + 1

    def _shown_best(self, ordinal: ClassOrdinal, k: int) -> tuple[np.ndarray, np.ndarray, int]:
        """The best k that can be found of a class's list, or all there are, and how far the list was read."""
        reach, length = k + _SPARE, self.generation.posting_count(ordinal)
        while True:
            ordinals, codes = self.generation.postings(ordinal, reach)
            shown = np.flatnonzero(self._shown(ordinals))[:k]
            if len(shown) == k or reach >= length:
                return ordinals.take(shown), codes.take(shown), len(codes)
            reach *= 2

    def _takes_scores(self, ordinal: ClassOrdinal, k: int) -> bool:
        """Whether the generation's k best stand in no list, so that everybody's scores are read for them."""
        if self.generation.scores is None:
            return False
        _, codes, read = self._shown_best(ordinal, k)
        return len(codes) < k and read < self.base_count

    def _refilled(self, ordinal: ClassOrdinal, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The generation's k best out of the scores of everything, for lists that deletions have emptied."""
        assert self.generation.scores is not None
        ordinals = np.flatnonzero(self.shown())
        codes = self.generation.scores[:, ordinal][ordinals]
        order = np.argsort(HIGHEST - codes, kind="stable")[:k]
        return ordinals[order], codes[order]

    def _with_live(
        self, ordinal: ClassOrdinal, k: int, lowest: int, places: np.ndarray, codes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best of these and of the delta's segments with codes from `lowest` up: places and codes."""
        live_places, live_codes = self._live(ordinal, k, lowest)
        if not len(live_codes):
            return places, codes
        places, codes = np.concatenate([places, live_places]), np.concatenate([codes, live_codes])
        # Stable, and live places lie behind all others: equal codes end up in order of place. As int32, which numpy
        # sorts by merging what is in order already.
        order = np.argsort(-codes.astype(np.int32), kind="stable")[:k]
        return places.take(order), codes.take(order)

    def _live(self, ordinal: ClassOrdinal, k: int, lowest: int) -> tuple[np.ndarray, np.ndarray]:
        """The delta's k best with codes from `lowest` up, or a few more in any order: places and codes."""
        columns = self.delta.reaching(ordinal, lowest)
        codes = self.delta.codes[ordinal].take(columns)
        if len(columns) > _FEW:  # fewer are put in order with the others
            best = np.argsort(HIGHEST - codes, kind="stable")[:k]
            columns, codes = columns[best], codes[best]
        return self.base_count + columns, codes


def _highest_behind(codes: np.ndarray) -> int:
    """The highest code that a segment may have which a list of codes (n,), falling, leaves out. Compaction can leave a
    list empty, and that says nothing of what it leaves out.
    """
    return int(codes[-1]) if len(codes) else HIGHEST


def live_over(generation: Generation, store: LiveStore) -> LiveDelta:
    """What a store knows beyond a generation, by the scores of the generation's own bundle."""
    manifest = generation.manifest
    return LiveDelta(store, manifest.bundle.digest, manifest.live_sequence, class_count=manifest.class_count)
