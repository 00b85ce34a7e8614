"""The live store: the last change of every video that was uploaded or deleted, durable and shared by processes.

Where it stands: uploads and deletions come in here, `delta` follows it for searching, compaction and reindexing read
it. It keeps everything: a later reindex scores its frames anew, and leaves out what was deleted. The sequence number
counts changes, over all processes, and is never used twice.

T frames, F codes a frame, S segments, C classes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from segsearch.core.errors import FeatureSpaceMismatch, InvalidInput, LiveStoreCorrupt
from segsearch.core.segments import segment_count
from segsearch.core.videos import VIDEO_ID_LIMIT
from segsearch.service.index.live.edit import counters_draft, format_draft
from segsearch.service.index.live.environment import Environment, create_environment
from segsearch.service.index.live.format import (
    BUNDLE_BYTES_CAP,
    CODES_BYTES,
    COUNTERS_KEY,
    FORMAT_KEY,
    FORMAT_VERSION,
    MAP_BYTES,
    META,
)
from segsearch.service.index.live.group_commit import GroupCommit
from segsearch.service.index.live.once import Name, first_answer, once
from segsearch.service.index.live.operations import (
    AddCodes,
    Delete,
    Known,
    Operation,
    Put,
    Stored,
    content_digest,
    same_content,
)
from segsearch.service.index.live.snapshot import Change, Counters, Entry, LiveVideo, Snapshot


class LiveStore:
    """Uploaded and deleted videos; what a method wrote is on disk when it returns.

    Threads share one store; a process opens a directory once, and again after a fork.
    """

    def __init__(self, environment: Environment):
        self._environment, self._commits = environment, GroupCommit(environment)
        self.path = environment.path

    @classmethod
    def open(cls, directory: Path, space: str, *, map_bytes: int = MAP_BYTES, readonly: bool = False) -> "LiveStore":
        """Opens the store, or makes an empty one unless `readonly`.

        space: id of the feature space of its frames. map_bytes: how much it may hold. Raises LiveStoreCorrupt for
        a damaged store or a later release's, FeatureSpaceMismatch, StorageFull or StorageFailed; then all is as it was.
        """
        if not readonly:
            fill = {FORMAT_KEY: format_draft(space), COUNTERS_KEY: counters_draft(Counters(0, 0), 0)}
            create_environment(directory, map_bytes, {META: {key: draft.sealed(key, 0) for key, draft in fill.items()}})
        store = cls(Environment(directory, map_bytes, readonly=readonly))
        try:
            store._check_format(space)
        except BaseException:
            store.close()
            raise
        return store

    def __enter__(self) -> "LiveStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def put(
        self, video_id: str, frames: np.ndarray, codes: Mapping[str, np.ndarray], name: Name | None = None
    ) -> Stored:
        """Stores or replaces a video. frames: (T, F) u8; codes: bundle digest -> (S, C) u16 score codes.

        The same frames again, with no bundle that is new for them, write nothing but the name. name: it is done once by
        it, and repeated gets its first answer. Raises InvalidInput, IdempotencyKeyReused, StorageFull or StorageFailed;
        then nothing is stored, unless it was the last write of a commit that failed.
        """
        _check_video(video_id, frames)
        for bundle, rows in codes.items():
            _check_codes(bundle, rows, len(frames))
        digest = content_digest(frames)
        with self._snapshot() as snapshot:
            first = None if name is None else first_answer(snapshot, name)
            known = _stored_before(snapshot, video_id, digest, frames, codes) if first is None else None
        if first is not None or (known is not None and name is None):
            self._environment.settle()
            return self._changed(first or known)
        if known is not None:
            making: Callable[[], Operation] = partial(Known, video_id, known)
        else:
            making = partial(Put.of, self._environment, video_id, digest, frames, codes)
        return self._changed(self._commits.carry_out(once(making, name)))

    def delete(self, video_id: str, name: Name | None = None) -> Stored:
        """Deletes a video, and leaves a tombstone that hides it in the generation too. Twice is unchanged, and by the
        same name gets its first answer. Raises IdempotencyKeyReused.
        """
        _check_id(video_id)
        return self._changed(self._commits.carry_out(once(lambda: Delete(video_id), name)))

    def first_answer(self, name: Name) -> Stored | None:
        """What came of the change of this name; None where there was none. Raises IdempotencyKeyReused."""
        with self._snapshot() as snapshot:
            stored = first_answer(snapshot, name)
        if stored is not None:
            self._environment.settle()
        return stored

    def get(self, video_id: str) -> LiveVideo | None:
        """A video with its frames and codes; None where there is none, or only a tombstone."""
        _check_id(video_id)
        with self._snapshot() as snapshot:
            entry = snapshot.entry_of(video_id)
            return None if entry is None or entry.deleted else snapshot.video(entry)

    def holds(self, video_id: str) -> bool:
        """Whether there is such a video, however damaged."""
        _check_id(video_id)
        with self._snapshot() as snapshot:
            entry = snapshot.entry_of(video_id)
            return entry is not None and not entry.deleted

    def frames(self, video_id: str, sequence: int) -> np.ndarray | None:
        """(T, F) u8 of an upload by its sequence number; None where the video was changed or deleted since."""
        with self._snapshot() as snapshot:
            entry = snapshot.entry_of(video_id)
            return snapshot.frames(sequence) if entry is not None and entry.sequence == sequence else None

    def videos(self, after: int = 0) -> Iterator[LiveVideo]:
        """Live videos in order of sequence, behind `after`, as they were when the first was taken.

        While the iterator lives, room that later changes free is not used again.
        """
        with self._snapshot() as snapshot:
            for entry in snapshot.entries(after):
                if not entry.deleted:
                    yield snapshot.video(entry)

    def entries(self, after: int = 0) -> list[Entry]:
        """Each video's last change behind `after`, deletions too, in order of sequence; without frames and codes."""
        with self._snapshot() as snapshot:
            return list(snapshot.entries(after))

    def lacking(self, after: int, bundle: str) -> list[tuple[int, str]]:
        """Sequence and id of live videos that changed behind `after` and have no codes of this bundle."""
        with self._snapshot() as snapshot:
            live = (entry for entry in snapshot.entries(after) if not entry.deleted)
            return [
                (entry.sequence, entry.video_id) for entry in live if not snapshot.has_codes(entry.sequence, bundle)
            ]

    def add_codes(self, bundle: str, codes: Mapping[str, tuple[int, np.ndarray]]) -> None:
        """Adds a bundle's score codes to stored videos, given by id as sequence and (S, C) u16.

        A video that was changed or deleted since, or has this bundle's codes, is left as it is. The sequence number
        stays; the revision grows.
        """
        part: dict[str, tuple[int, np.ndarray]] = {}
        size_bytes = 0
        for video_id, (sequence, rows) in codes.items():
            _check_codes(bundle, rows)
            part[video_id] = sequence, rows
            size_bytes += rows.nbytes
            if size_bytes > CODES_BYTES:
                self._commits.carry_out(partial(AddCodes.of, self._environment, bundle, part))
                part, size_bytes = {}, 0
        if part:
            self._commits.carry_out(partial(AddCodes.of, self._environment, bundle, part))

    @property
    def sequence(self) -> int:
        """Of the last committed change of any process; costs microseconds."""
        return self.counters().sequence

    def counters(self) -> Counters:
        """Sequence and number of commits, at one moment."""
        with self._snapshot() as snapshot:
            return snapshot.counters()

    def last_commit(self) -> int:
        """A number that grows with each commit of any process, while it is still being written; costs a microsecond."""
        return self._environment.last_commit()

    def read_commit(self) -> tuple[int, Counters]:
        """The number of the last commit that can be read, and the counters that it left."""
        with self._snapshot() as snapshot:
            return snapshot.transaction.id(), snapshot.counters()

    def changes(self, after: int, bundle: str) -> list[Change]:
        """Each video that changed behind `after`, once, in order of its last change."""
        return self.follow(after, bundle)[1]

    def follow(self, after: int, bundle: str) -> tuple[Counters, list[Change]]:
        """The changes behind `after`, and the counters of the same moment. One whose codes are damaged has none."""
        with self._snapshot() as snapshot:
            return snapshot.counters(), [_change(snapshot, entry, bundle) for entry in snapshot.entries(after)]

    def any_scored(self, sequences: Iterable[int], bundle: str) -> bool:
        """Whether the video of one of these changes has this bundle's codes."""
        with self._snapshot() as snapshot:
            return any(snapshot.has_codes(sequence, bundle) for sequence in sequences)

    def verify(self) -> None:
        """Reads everything and proves every checksum and reference; raises LiveStoreCorrupt at the first fault."""
        with self._snapshot() as snapshot:
            snapshot.prove()

    def close(self) -> None:
        """Answers what was handed in, and closes the files."""
        self._commits.close()
        self._environment.close()

    @contextmanager
    def _snapshot(self) -> Iterator[Snapshot]:
        with self._environment.reading() as transaction:
            yield Snapshot(self._environment, transaction)

    def _check_format(self, space: str) -> None:
        with self._snapshot() as snapshot:
            version, found = snapshot.format()
            if not 0 < version <= FORMAT_VERSION:
                reason = f"format version {version}; this release reads up to {FORMAT_VERSION}"
                raise LiveStoreCorrupt(self._environment.path, "its format", reason)
            if found != space:
                raise FeatureSpaceMismatch(f"live store {self._environment.path}", found, space)
            snapshot.check_commit()

    @staticmethod
    def _changed(answer: Stored | None) -> Stored:
        assert answer is not None
        return answer


def _stored_before(
    snapshot: Snapshot, video_id: str, digest: bytes, frames: np.ndarray, codes: Mapping[str, np.ndarray]
) -> Stored | None:
    """The answer where a video is stored as it is to be."""
    before = snapshot.entry_of(video_id)
    unchanged = before is not None and same_content(snapshot, before, digest, frames, codes)
    return Stored(before.sequence, unchanged=True) if before is not None and unchanged else None


def _change(snapshot: Snapshot, entry: Entry, bundle: str) -> Change:
    try:
        return snapshot.change(entry, bundle)
    except LiveStoreCorrupt as error:
        return Change(entry.sequence, entry.video_id, None, deleted=False, damage=str(error))


def _check_id(video_id: str) -> None:
    fits = 0 < len(video_id) <= VIDEO_ID_LIMIT and not any("\ud800" <= letter <= "\udfff" for letter in video_id)
    if not fits:
        raise InvalidInput("video id", repr(video_id[:80]), f"1 to {VIDEO_ID_LIMIT} characters that UTF-8 can write")


def _check_video(video_id: str, frames: np.ndarray) -> None:
    _check_id(video_id)
    if frames.ndim != 2 or frames.dtype != np.uint8 or not frames.size:
        raise InvalidInput("frames", f"{frames.dtype}{frames.shape}", "uint8, frames by codes, at least one of each")


def _check_codes(bundle: str, codes: np.ndarray, frame_count: int | None = None) -> None:
    """frame_count: of the video, where it is known."""
    if not 0 < len(bundle.encode()) <= BUNDLE_BYTES_CAP:
        raise InvalidInput("bundle", repr(bundle[:80]), f"1 to {BUNDLE_BYTES_CAP} bytes")
    segments = None if frame_count is None else segment_count(frame_count)
    if codes.ndim != 2 or codes.dtype != np.uint16 or not codes.size or segments not in (None, len(codes)):
        wanted = f"uint16, {segments or 'segments'} by classes"
        raise InvalidInput(f"codes of {bundle[:12]}", f"{codes.dtype}{codes.shape}", wanted)
