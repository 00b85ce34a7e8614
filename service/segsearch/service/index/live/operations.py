"""What can be done to a live store: each operation is made by its caller's thread and carried out in a commit.

Where it stands: `store` makes them, `group_commit` carries many out in one transaction. Making one does what takes
long, copying and hashing; carrying it out looks first and writes then, so that one that is refused has left nothing.

T frames, F codes a frame, S segments, C classes.
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from segsearch.core.errors import InvalidInput, LiveStoreCorrupt
from segsearch.core.segments import segment_count
from segsearch.service.index.live.format import (
    CHANGES,
    CODES,
    CODES_DTYPE,
    COUNTERS_KEY,
    FRAMES,
    FRAMES_DTYPE,
    META,
    SEQUENCES,
)
from segsearch.service.index.live.record import Draft, Kind
from segsearch.service.index.live.snapshot import COUNTERS, Counters, Entry, Snapshot, sequence_key, video_key


@dataclass(frozen=True, slots=True)
class Stored:
    """An upload or a deletion that is on disk."""

    sequence: int
    unchanged: bool = False  # it was there already, and nothing was written


class Edit:
    """A transaction that writes, and the counters as they will be when it commits."""

    def __init__(self, snapshot: Snapshot):
        self.snapshot, self.counters, self.changed = snapshot, snapshot.counters(), False

    def next_sequence(self) -> int:
        self.counters = Counters(self.counters.sequence + 1, self.counters.revision)
        return self.counters.sequence

    def put(self, table: bytes, key: bytes, draft: Draft, sequence: int) -> None:
        tables = self.snapshot.environment.tables
        self.snapshot.transaction.put(key, draft.sealed(key, sequence), db=tables[table])
        self.changed = True

    def remove(self, table: bytes, key: bytes) -> None:
        self.changed |= self.snapshot.transaction.delete(key, db=self.snapshot.environment.tables[table])

    def remove_change(self, sequence: int) -> None:
        """Removes one change's record with its frames and codes."""
        key = sequence_key(sequence)
        self.remove(CHANGES, key)
        self.remove(FRAMES, key)
        with self.snapshot.transaction.cursor(self.snapshot.environment.tables[CODES]) as cursor:
            if cursor.set_range(key):
                while cursor.key()[: len(key)] == key and cursor.delete():
                    self.changed = True

    def record_change(self, video_id: str, draft: Draft, before: Entry | None) -> int:
        """Writes a video's change over the one before; returns its sequence number."""
        if before is not None:
            self.remove_change(before.sequence)
        sequence, key = self.next_sequence(), video_key(video_id)
        self.put(CHANGES, sequence_key(sequence), draft, sequence)
        self.put(SEQUENCES, key, Draft.of(Kind.SEQUENCE, b""), sequence)
        return sequence

    def finish(self) -> bool:
        """Writes the counters; False where nothing was written that is worth a commit."""
        if self.changed:
            self.counters = Counters(self.counters.sequence, self.counters.revision + 1)
            draft = counters_draft(self.counters, self.snapshot.transaction.id())
            self.put(META, COUNTERS_KEY, draft, self.counters.sequence)
        return self.changed


class Operation(Protocol):
    """One thing to do within a commit."""

    @property
    def video_id(self) -> str | None:
        """A commit changes a video once; None: the operation wants a commit of its own."""

    @property
    def size_bytes(self) -> int: ...

    def apply(self, edit: Edit) -> Stored | None: ...


@dataclass(frozen=True, slots=True)
class Put:
    """Stores or replaces a video."""

    video_id: str
    digest: bytes
    change: Draft
    frames: Draft
    codes: Mapping[str, Draft]  # by bundle

    @classmethod
    def of(cls, video_id: str, digest: bytes, frames: np.ndarray, codes: Mapping[str, np.ndarray]) -> "Put":
        return cls(
            video_id,
            digest,
            Draft.of(Kind.PUT, digest + video_id.encode(), *frames.shape),
            Draft.of_array(Kind.FRAMES, frames, FRAMES_DTYPE),
            {bundle: codes_draft(rows) for bundle, rows in codes.items()},
        )

    @property
    def size_bytes(self) -> int:
        return len(self.frames.value) + sum(len(draft.value) for draft in self.codes.values())

    def apply(self, edit: Edit) -> Stored:
        before = edit.snapshot.entry_of(self.video_id)
        if same_content(edit.snapshot, before, self.digest, self.codes):
            assert before is not None
            return Stored(before.sequence, unchanged=True)
        codes = {**self._kept(edit.snapshot, before), **self.codes}
        sequence = edit.record_change(self.video_id, self.change, before)
        key = sequence_key(sequence)
        edit.put(FRAMES, key, self.frames, sequence)
        for bundle, draft in codes.items():
            edit.put(CODES, key + bundle.encode(), draft, sequence)
        return Stored(sequence)

    def _kept(self, snapshot: Snapshot, before: Entry | None) -> dict[str, Draft]:
        """What other bundles said of the same frames stays true."""
        if before is not None and before.digest == self.digest:
            with suppress(LiveStoreCorrupt):
                return {bundle: codes_draft(rows) for bundle, rows in snapshot.all_codes(before).items()}
        return {}


@dataclass(frozen=True, slots=True)
class Delete:
    """Leaves a tombstone for a video, whether it is live or not."""

    video_id: str
    size_bytes: int = 0

    def apply(self, edit: Edit) -> Stored:
        before = edit.snapshot.entry_of(self.video_id)
        if before is not None and before.deleted:
            return Stored(before.sequence, unchanged=True)
        return Stored(edit.record_change(self.video_id, Draft.of(Kind.DELETED, self.video_id.encode()), before))


@dataclass(frozen=True, slots=True)
class AddCodes:
    """Adds one bundle's codes to videos that have none of it and are still at the change that was scored."""

    bundle: str
    codes: Mapping[str, tuple[int, Draft]]  # by video id: sequence, codes
    video_id: None = None

    @property
    def size_bytes(self) -> int:
        return sum(len(draft.value) for _, draft in self.codes.values())

    def apply(self, edit: Edit) -> None:
        for video_id, (sequence, draft) in self.codes.items():
            entry = edit.snapshot.entry_of(video_id)
            if (
                entry is None
                or entry.deleted
                or entry.sequence != sequence
                or edit.snapshot.has_codes(sequence, self.bundle)
            ):
                continue
            if draft.rows != segment_count(entry.frame_count):
                wanted = f"{segment_count(entry.frame_count)} as video {video_id!r} has"
                raise InvalidInput("codes", f"{draft.rows} segments", wanted)
            edit.put(CODES, sequence_key(sequence) + self.bundle.encode(), draft, sequence)


def same_content(snapshot: Snapshot, before: Entry | None, digest: bytes, bundles: Mapping[str, object]) -> bool:
    """Whether a video is stored, whole, with these frames and scored by all these bundles."""
    if before is None or before.digest != digest:
        return False
    try:
        return snapshot.video(before).codes.keys() >= bundles.keys()
    except LiveStoreCorrupt:
        return False  # storing it again mends it


def content_digest(frames: np.ndarray) -> bytes:
    """SHA-256 of (T, F) frames and their shape."""
    digest = hashlib.sha256(f"{frames.shape[0]}x{frames.shape[1]}:".encode())
    digest.update(np.ascontiguousarray(frames, FRAMES_DTYPE).data)
    return digest.digest()


def codes_draft(codes: np.ndarray) -> Draft:
    """codes: (S, C) u16."""
    return Draft.of_array(Kind.CODES, codes, CODES_DTYPE)


def counters_draft(counters: Counters, transaction: int) -> Draft:
    """transaction: LMDB's number of the commit that writes them."""
    return Draft.of(Kind.COUNTERS, COUNTERS.pack(counters.revision, transaction))
