"""What can be done to a live store: each operation is made by its caller's thread and carried out in a commit.

Where it stands: `store` makes them, `group_commit` carries many out in one transaction, an `edit`. Making one does what
takes long: hashing, and writing long arrays into value files. Carrying it out looks first and writes then, so that one
that is refused has left nothing but what it says in `places`.

T frames, F codes a frame, S segments, C classes.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from xxhash import xxh3_128_digest

from segsearch.core.errors import InvalidInput, LiveStoreCorrupt
from segsearch.core.segments import segment_count
from segsearch.service.index.live.edit import Edit
from segsearch.service.index.live.environment import Environment
from segsearch.service.index.live.format import CODES, CODES_DTYPE, FRAMES, FRAMES_DTYPE, INLINE_BYTES
from segsearch.service.index.live.record import Draft, Kind, Place
from segsearch.service.index.live.snapshot import DIGEST_BYTES, Entry, Snapshot, sequence_key

RECORD_BYTES: Final = 256  # of LMDB's file, for one short record at most
_PADDING: Final = bytes(DIGEST_BYTES - 16)
_DTYPES: Final[dict[Kind, np.dtype]] = {Kind.FRAMES: FRAMES_DTYPE, Kind.CODES: CODES_DTYPE}


@dataclass(frozen=True, slots=True)
class Stored:
    """An upload or a deletion that is on disk."""

    sequence: int
    unchanged: bool = False  # it was there already, and nothing was written


class Operation(Protocol):
    """One thing to do within a commit."""

    @property
    def video_id(self) -> str | None:
        """A commit changes a video once; None: the operation wants a commit of its own."""

    @property
    def size_bytes(self) -> int:
        """That it adds to LMDB's file."""

    @property
    def places(self) -> list[Place]:
        """What was written for it into value files."""

    def apply(self, edit: Edit) -> Stored | None: ...


@dataclass(frozen=True, slots=True)
class Put:
    """Stores or replaces a video."""

    video_id: str
    digest: bytes
    content: np.ndarray  # (T, F) u8, to be compared with what is stored
    change: Draft
    frames: Draft
    codes: Mapping[str, Draft]  # by bundle

    @classmethod
    def of(
        cls,
        environment: Environment,
        video_id: str,
        digest: bytes,
        frames: np.ndarray,
        codes: Mapping[str, np.ndarray],
    ) -> "Put":
        arrays = [(Kind.FRAMES, frames), *((Kind.CODES, rows) for rows in codes.values())]
        frames_draft, *codes_drafts = drafts(environment, arrays)
        change = Draft.of(Kind.PUT, digest + video_id.encode(), *frames.shape)
        return cls(video_id, digest, frames, change, frames_draft, dict(zip(codes, codes_drafts, strict=True)))

    @property
    def size_bytes(self) -> int:
        return len(self.frames.value) + sum(len(draft.value) for draft in self.codes.values())

    @property
    def places(self) -> list[Place]:
        return _places(self.frames, *self.codes.values())

    def apply(self, edit: Edit) -> Stored:
        before = edit.snapshot.entry_of(self.video_id)
        if same_content(edit.snapshot, before, self.digest, self.content, self.codes):
            assert before is not None
            return Stored(before.sequence, unchanged=True)
        codes = {**self._others(edit.snapshot, before), **self.codes}
        sequence = edit.record_change(self.video_id, self.change, before)
        key = sequence_key(sequence)
        edit.put(FRAMES, key, self.frames, sequence)
        for bundle, draft in codes.items():
            edit.put(CODES, key + bundle.encode(), draft, sequence)
        return Stored(sequence)

    def _others(self, snapshot: Snapshot, before: Entry | None) -> dict[str, Draft]:
        """What other bundles said of the same frames stays true."""
        if before is not None and _same_frames(snapshot, before, self.digest, self.content):
            with suppress(LiveStoreCorrupt):
                snapshot.all_codes(before)  # what is damaged is not kept
                records = snapshot.codes_records(before)
                return {bundle: Draft.again(record) for bundle, record in records.items()}
        return {}


@dataclass(frozen=True, slots=True)
class Known:
    """Finds a video as it was to be stored, at a moment that has passed."""

    video_id: str
    stored: Stored
    size_bytes: int = RECORD_BYTES  # of what notes it

    @property
    def places(self) -> list[Place]:
        return []

    def apply(self, _: Edit) -> Stored:
        return self.stored


@dataclass(frozen=True, slots=True)
class Delete:
    """Leaves a tombstone for a video, whether it is live or not."""

    video_id: str
    size_bytes: int = 0

    @property
    def places(self) -> list[Place]:
        return []

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

    @classmethod
    def of(cls, environment: Environment, bundle: str, codes: Mapping[str, tuple[int, np.ndarray]]) -> "AddCodes":
        """codes: by video id, sequence and (S, C) u16."""
        written = drafts(environment, [(Kind.CODES, rows) for _, rows in codes.values()])
        parts = zip(codes.items(), written, strict=True)
        return cls(bundle, {video_id: (sequence, draft) for (video_id, (sequence, _)), draft in parts})

    @property
    def size_bytes(self) -> int:
        return sum(len(draft.value) for _, draft in self.codes.values())

    @property
    def places(self) -> list[Place]:
        return _places(*(draft for _, draft in self.codes.values()))

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


@dataclass(frozen=True, slots=True)
class MakeRoom:
    """Changes nothing, and gives back what was freed; its answer is None where there was nothing to give."""

    video_id: None = None
    size_bytes: int = 0

    @property
    def places(self) -> list[Place]:
        return []

    def apply(self, edit: Edit) -> Stored | None:
        edit.changed = edit.can_make_room()
        return Stored(edit.counters.sequence) if edit.changed else None


def same_content(
    snapshot: Snapshot, before: Entry | None, digest: bytes, frames: np.ndarray, bundles: Mapping[str, object]
) -> bool:
    """Whether a video is stored, whole, with these frames (T, F) u8 and scored by all these bundles."""
    if before is None or _differs(before, digest):
        return False
    try:
        video = snapshot.video(before)
    except LiveStoreCorrupt:
        return False  # storing it again mends it
    return video.codes.keys() >= bundles.keys() and np.array_equal(video.frames, frames)


def _same_frames(snapshot: Snapshot, before: Entry, digest: bytes, frames: np.ndarray) -> bool:
    """Whether a video has these frames; of those that cannot be read, their digest says so."""
    if _differs(before, digest):
        return False
    try:
        return np.array_equal(snapshot.frames(before.sequence), frames)
    except LiveStoreCorrupt:
        return before.digest == digest


def _differs(before: Entry, digest: bytes) -> bool:
    """Whether other frames are stored for certain. One of an earlier release, a SHA-256, tells nothing."""
    return before.deleted or (before.digest != digest and before.digest.endswith(_PADDING))


def content_digest(frames: np.ndarray) -> bytes:
    """xxh3 (128 bit) of (T, F) frames: where it is the same the frames are compared, so that none need forge it."""
    return xxh3_128_digest(np.ascontiguousarray(frames, FRAMES_DTYPE).data) + _PADDING


def drafts(environment: Environment, arrays: Sequence[tuple[Kind, np.ndarray]]) -> list[Draft]:
    """Of frames and codes, two axes each. The long ones lie in value files when it returns.

    Raises StorageFull or StorageFailed.
    """
    plain = [np.ascontiguousarray(array, _DTYPES[kind]) for kind, array in arrays]
    long = [array.reshape(-1).view(np.uint8).data for array in plain if array.nbytes > INLINE_BYTES]
    places = iter(environment.append(long) if long else ())
    return [
        Draft.of_place(next(places), *array.shape)
        if array.nbytes > INLINE_BYTES
        else Draft.of_array(kind, array, array.dtype)
        for (kind, _), array in zip(arrays, plain, strict=True)
    ]


def _places(*written: Draft) -> list[Place]:
    return [draft.place for draft in written if draft.place is not None]
