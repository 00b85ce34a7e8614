"""What a live store says by one bundle's scores, in memory: segments to search, and the videos they hide.

Where it stands: `store` is what it follows, `index.view` lays it over a generation. A delta never changes for the one
who holds it; the next one shares its arrays as far as they are the same.

C classes, D live segments, S segments of one video.
"""

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from threading import Lock
from typing import Final, overload

import numpy as np

from segsearch.core.errors import LiveStoreCorrupt
from segsearch.core.segments import SEGMENT_FRAMES
from segsearch.core.vocabulary import ClassOrdinal
from segsearch.service.events import log
from segsearch.service.index.live.columns import BLOCK, Columns
from segsearch.service.index.live.snapshot import Change, Counters
from segsearch.service.index.live.store import LiveStore

_FEW_BLOCKS: Final = 1 / 4  # of all: to look at every column is as fast with more of them
_WITHIN: Final = np.arange(BLOCK)
_DEAD_SHARE: Final = 1 / 3  # of the columns, before they are written anew without the dead


@dataclass(frozen=True, eq=False)
class Delta:
    """Live segments of one bundle's scores at one sequence number, immutable for its user."""

    sequence: int
    codes: np.ndarray  # (C, D) u16, class-major; columns in order of their videos' sequence numbers, then start
    alive: np.ndarray  # (D,) bool: false where the video was replaced or deleted meanwhile
    videos: np.ndarray  # (D,) u32 live video ordinal of each segment, rising
    starts: np.ndarray  # (D,) u32 first frame
    uploads: np.ndarray  # (D,) u64 sequence number of the upload, rising
    ids: Sequence[str]  # video id by live video ordinal
    changed: Collection[str]  # video ids that were put or deleted: they hide the generation's own copy
    revision: int = 0  # the store's, which also grows when a bundle's scores come for what is there
    tops: np.ndarray | None = None  # (C, B) u16: at least the highest code of each block of columns
    origin: object = None  # the same as long as columns that were there stay what they were
    lacking: int = 0  # videos that this bundle did not score: another's scores stand in, if there are any

    @classmethod
    def empty(cls, class_count: int, sequence: int = 0) -> "Delta":
        """Nothing was uploaded or deleted."""
        columns = Columns(class_count)
        alive = np.empty(0, bool)
        return cls(sequence, columns.codes, alive, columns.videos, columns.starts, columns.uploads, (), frozenset())

    def reaching(self, ordinal: ClassOrdinal, lowest: int) -> np.ndarray:
        """(n,) int64, rising: the columns of segments that can be found, with codes from `lowest` up for a class."""
        row = self.codes[ordinal]
        columns = np.flatnonzero(row >= lowest) if self.tops is None else _in_blocks(row, self.tops[ordinal], lowest)
        reaching: np.ndarray = columns[self.alive.take(columns)]
        return reaching


class LiveDelta:
    """Follows a store for one bundle: `current` applies what was committed since. Threads share one."""

    def __init__(self, store: LiveStore, bundle: str, after: int = 0, *, class_count: int):
        """bundle: the digest its codes are stored by. after: the generation below holds the changes up to here."""
        self._store, self._bundle, self._after, self._class_count = store, bundle, after, class_count
        self._lock = Lock()
        self._told: set[int] = set()  # sequence numbers of what is damaged
        self._build = _Build(class_count)
        empty = replace(Delta.empty(class_count, after), origin=self._build.origin)
        self._at = (-1, empty)  # the store's revision, and the delta of it
        self._at_hand: tuple[int, Delta | None] = (-1, None)  # a commit, and the delta that holds it

    def current(self) -> Delta:
        """The delta of the last commit, of whatever process. Costs microseconds where nothing was committed.

        Raises LiveStoreCorrupt.
        """
        at_hand = self.at_hand()
        if at_hand is not None:
            return at_hand
        # The commit that is read, not `last_commit`: that one may still be on its way to the disk, and not be read yet.
        commit, counters = self._store.read_commit()
        revision, delta = self._at
        if counters.revision != revision:
            with self._lock:
                self._at = self._followed(*self._at)
                delta = self._at[1]
        self._at_hand = commit, delta
        return delta

    def at_hand(self) -> Delta | None:
        """What `current` gave last, where nothing was committed since; None where following would take time."""
        commit, delta = self._at_hand
        return delta if self._store.last_commit() == commit else None

    def _followed(self, revision: int, delta: Delta) -> tuple[int, Delta]:
        counters, changes = self._store.follow(delta.sequence, self._bundle)
        if counters.revision == revision:
            return revision, delta  # another thread was faster
        if self._store.any_scored(self._build.lacking.values(), self._bundle):
            self._build = _Build(self._class_count)
            counters, changes = self._store.follow(self._after, self._bundle)
        for change in changes:
            if change.damage and change.sequence not in self._told:
                self._told.add(change.sequence)
                log("upload_damaged", level=logging.ERROR, video=change.video_id, reason=change.damage)
            self._build.apply(self._checked(change))
        self._build.drop_dead()
        return counters.revision, self._build.delta(counters)

    def _checked(self, change: Change) -> Change:
        if change.codes is None or change.codes.shape[1] == self._class_count:
            return change
        if change.lacking:
            return replace(change, codes=None)  # a bundle of other classes cannot stand in
        place = f"change {change.sequence}, video {change.video_id!r}"
        found = f"{change.codes.shape[1]} classes, wanted {self._class_count} as bundle {self._bundle[:12]} has"
        raise LiveStoreCorrupt(self._store.path, place, found)


class _Build:
    """What deltas are views on: only grows, but for `alive`, which each delta copies."""

    def __init__(self, class_count: int):
        self.origin = object()
        self.lacking: dict[str, int] = {}  # live videos that the bundle did not score: sequence by id
        self._columns = Columns(class_count)
        self._alive = np.empty(0, bool)  # (room,)
        self._dead_count = 0
        self._ids: list[str] = []
        self._own: dict[str, slice] = {}  # a live video's columns
        self._changed: dict[str, int] = {}  # how many changed before this one

    def apply(self, change: Change) -> None:
        self._changed.setdefault(change.video_id, len(self._changed))
        self.lacking.pop(change.video_id, None)
        before = self._own.pop(change.video_id, None)
        if before is not None:
            self._alive[before] = False
            self._dead_count += before.stop - before.start
        if change.codes is not None:
            self._append(change, change.codes)
        if change.lacking:
            self.lacking[change.video_id] = change.sequence

    def drop_dead(self) -> None:
        """Writes the columns anew where too many of them are dead; deltas that were given out keep the old ones."""
        if self._dead_count <= _DEAD_SHARE * self._columns.count:
            return
        alive = self._alive[: self._columns.count]
        self._ids = [self._ids[video] for video in np.unique(self._columns.videos[alive]).tolist()]
        self._columns = self._columns.only(alive)
        bounds = np.searchsorted(self._columns.videos, np.arange(len(self._ids) + 1)).tolist()
        self._own = {video_id: slice(*bounds[row : row + 2]) for row, video_id in enumerate(self._ids)}
        self._alive, self._dead_count = np.ones(self._columns.count, bool), 0

    def delta(self, counters: Counters) -> Delta:
        columns = self._columns
        alive = self._alive[: columns.count].copy()
        ids, changed = _Ids(self._ids, len(self._ids)), _Changed(self._changed, len(self._changed))
        return Delta(
            counters.sequence, columns.codes, alive, columns.videos, columns.starts, columns.uploads, ids, changed,
            counters.revision, columns.tops, self.origin, len(self.lacking),
        )  # fmt: skip

    def _append(self, change: Change, codes: np.ndarray) -> None:
        added = self._own[change.video_id] = self._columns.append(len(self._ids), change.sequence, codes)
        self._ids.append(change.video_id)
        if added.stop > len(self._alive):
            grown = np.empty(max(added.stop, 2 * len(self._alive)), bool)
            grown[: added.start] = self._alive[: added.start]
            self._alive = grown
        self._alive[added] = True


@dataclass(frozen=True, slots=True, eq=False)
class _Ids(Sequence[str]):
    """The first `length` of a list that only grows."""

    everything: list[str]
    length: int

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        # `range` knows what an index or slice means in so many.
        places = range(self.length)[place]
        return self.everything[places] if isinstance(places, int) else [self.everything[at] for at in places]


@dataclass(frozen=True, slots=True, eq=False)
class _Changed(Collection[str]):
    """The first `length` keys of a dict that only grows and counts its keys."""

    everything: dict[str, int]
    length: int

    def __len__(self) -> int:
        return self.length

    def __contains__(self, video_id: object) -> bool:
        return isinstance(video_id, str) and self.everything.get(video_id, self.length) < self.length

    def __iter__(self) -> Iterator[str]:
        # A copy of the keys, made in one step: another thread may be adding to the dict.
        return islice(list(self.everything), self.length)


def _in_blocks(row: np.ndarray, tops: np.ndarray, lowest: int) -> np.ndarray:
    """(n,) int64, rising: where codes (D,) reach `lowest`, looking only into blocks whose tops (B,) do."""
    blocks = np.flatnonzero(tops >= lowest)
    if len(blocks) > _FEW_BLOCKS * len(tops):
        return np.flatnonzero(row >= lowest)
    columns = (blocks[:, None] * BLOCK + _WITHIN).ravel()
    if len(columns) and columns[-1] >= len(row):  # the last block is not full
        columns = columns[columns < len(row)]
    return columns[row.take(columns) >= lowest]


def plain_delta(changes: Sequence[Change], sequence: int, class_count: int) -> Delta:
    """The plain twin of following: all from nothing, given a store's changes in order."""
    live = [(change, change.codes) for change in changes if change.codes is not None]
    codes = np.concatenate([np.empty((0, class_count), np.uint16), *(rows for _, rows in live)])
    starts = [np.arange(len(rows), dtype=np.uint32) * SEGMENT_FRAMES for _, rows in live]
    lengths = [len(rows) for _, rows in live]
    videos = np.repeat(np.arange(len(live), dtype=np.uint32), lengths)
    return Delta(
        sequence,
        np.ascontiguousarray(codes.T),
        np.ones(len(codes), bool),
        videos,
        np.concatenate([np.empty(0, np.uint32), *starts]),
        np.repeat(np.array([change.sequence for change, _ in live], np.uint64), lengths),
        [change.video_id for change, _ in live],
        frozenset(change.video_id for change in changes),
    )
