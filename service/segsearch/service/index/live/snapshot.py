"""What a live store holds at one commit, read and checked record by record.

Where it stands: `store` makes one for each read, `operations` look through one before they write. Every record's
checksum is proved before a byte of it is used, and that of what lies in a value file, too; what is damaged raises
LiveStoreCorrupt and is never served.

T frames, F codes a frame, S segments, C classes.
"""

import hashlib
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from segsearch.core.errors import LiveStoreCorrupt
from segsearch.core.segments import segment_count
from segsearch.service.index.live.environment import Environment, Transaction
from segsearch.service.index.live.format import (
    CHANGES,
    CODES,
    CODES_DTYPE,
    COUNTERS_KEY,
    DONE_PREFIX,
    FORMAT_KEY,
    FRAMES,
    FRAMES_DTYPE,
    FREED_PREFIX,
    META,
    SEQUENCES,
    TAKEN_KEY,
    done_key,
    taken_key,
)
from segsearch.service.index.live.record import Kind, Place, Record, RecordDamaged

DIGEST_BYTES: Final = 32
_KEY: Final = struct.Struct(">Q")  # big-endian: LMDB sorts keys as bytes
COUNTERS: Final = struct.Struct("<QQ")  # revision, LMDB's number of the commit
TAKEN: Final = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Counters:
    """How far a store has come."""

    sequence: int  # of the last change, ever
    revision: int  # commits, ever: grows with whatever is written


@dataclass(frozen=True, slots=True)
class Entry:
    """The last change of one video."""

    sequence: int
    video_id: str
    digest: bytes  # of the frames; empty where the video was deleted
    deleted: bool
    frame_count: int  # T; 0 where deleted


@dataclass(frozen=True, slots=True, eq=False)
class LiveVideo:
    """One video that was uploaded and not deleted since."""

    video_id: str
    sequence: int
    digest: str  # of the frames, hex
    frames: np.ndarray  # (T, F) u8, read-only
    codes: dict[str, np.ndarray]  # bundle digest -> (S, C) u16, read-only


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """One video's last change, as one bundle's scores know it."""

    sequence: int
    video_id: str
    codes: np.ndarray | None  # (S, C) u16; None: deleted, not scored at all, or damaged
    deleted: bool
    lacking: bool = False  # the bundle has not scored it: the codes are another's
    damage: str = ""  # why its codes cannot be told


def sequence_key(sequence: int) -> bytes:
    return _KEY.pack(sequence)


def video_key(video_id: str) -> bytes:
    """A digest, as an id may be longer than LMDB's keys."""
    return hashlib.sha256(video_id.encode()).digest()


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """One transaction's look at the store."""

    environment: Environment
    transaction: Transaction

    def counters(self) -> Counters:
        return self._counters()[0]

    def check_commit(self) -> None:
        """Raises LiveStoreCorrupt where LMDB takes an older commit for the last: its meta pages have no checksum."""
        counters, written_by = self._counters()
        if counters.revision and written_by != self.transaction.id():
            raise self.damaged(META, COUNTERS_KEY, f"commit {written_by} is called {self.transaction.id()}")

    def format(self) -> tuple[int, str]:
        """Format version and feature space."""
        record = self._record(META, FORMAT_KEY, Kind.FORMAT)
        if record is None:
            raise self.damaged(META, FORMAT_KEY, "it is missing")
        return record.rows, str(record.payload, "utf-8")

    def entry_of(self, video_id: str) -> Entry | None:
        """A video's last change, a deletion too; None where there is none."""
        record = self._record(SEQUENCES, video_key(video_id), Kind.SEQUENCE)
        if record is None:
            return None
        entry = self.entry(record.sequence)
        if entry is None or entry.video_id != video_id:
            raise self.damaged(SEQUENCES, video_key(video_id), f"it names change {record.sequence}, which is not there")
        return entry

    def entry(self, sequence: int) -> Entry | None:
        record = self._record(CHANGES, sequence_key(sequence), Kind.PUT, Kind.DELETED)
        return None if record is None else _entry(record)

    def entries(self, after: int) -> Iterator[Entry]:
        """Last changes behind `after`, in order of sequence."""
        with self.transaction.cursor(self.environment.tables[CHANGES]) as cursor:
            if cursor.set_range(sequence_key(after + 1)):
                for key, value in cursor:
                    entry = _entry(self._opened(CHANGES, key, value, Kind.PUT, Kind.DELETED))
                    if sequence_key(entry.sequence) != key:
                        raise self.damaged(CHANGES, key, f"it holds change {entry.sequence}")
                    yield entry

    def frames(self, sequence: int) -> np.ndarray:
        """(T, F) u8 of a live video."""
        key = sequence_key(sequence)
        record = self._record(FRAMES, key, Kind.FRAMES, Kind.VALUE)
        if record is None:
            raise self.damaged(FRAMES, key, "it is missing")
        return self._array(FRAMES, key, record, FRAMES_DTYPE)

    def codes(self, entry: Entry, bundle: str) -> np.ndarray | None:
        """(S, C) u16 of a live video; None where this bundle did not score it."""
        key = sequence_key(entry.sequence) + bundle.encode()
        record = self._record(CODES, key, Kind.CODES, Kind.VALUE)
        if record is None:
            self.all_codes(entry)  # a key that was damaged looks like none
            return None
        return self._codes(key, record, entry)

    def all_codes(self, entry: Entry) -> dict[str, np.ndarray]:
        """Every bundle's (S, C) u16 of a live video."""
        prefix = sequence_key(entry.sequence)
        return {
            bundle: self._codes(prefix + bundle.encode(), record, entry)
            for bundle, record in self.codes_records(entry).items()
        }

    def codes_records(self, entry: Entry) -> dict[str, Record]:
        """Every bundle's record of codes of a live video; what lies in value files is not looked at."""
        prefix, found = sequence_key(entry.sequence), {}
        for key, value in self.items(CODES, prefix):
            record = self._opened(CODES, key, value, Kind.CODES, Kind.VALUE)  # first: it proves the key
            found[key[len(prefix) :].decode()] = record
        return found

    def has_codes(self, sequence: int, bundle: str) -> bool:
        """Whether this bundle scored the video of this change; the scores are not looked at."""
        key = sequence_key(sequence) + bundle.encode()
        return self.transaction.get(key, db=self.environment.tables[CODES]) is not None

    def video(self, entry: Entry) -> LiveVideo:
        frames, codes = self.frames(entry.sequence), self.all_codes(entry)
        return LiveVideo(entry.video_id, entry.sequence, entry.digest.hex(), frames, codes)

    def change(self, entry: Entry, bundle: str) -> Change:
        """Where this bundle did not score a video, what another said stands in: an upload is never out of sight."""
        if entry.deleted:
            return Change(entry.sequence, entry.video_id, None, deleted=True)
        codes = self.codes(entry, bundle)
        if codes is not None:
            return Change(entry.sequence, entry.video_id, codes, deleted=False)
        others = self.all_codes(entry).values()
        return Change(entry.sequence, entry.video_id, next(iter(others), None), deleted=False, lacking=True)

    def done(self, digest: bytes) -> Record | None:
        """What was noted of a change by the digest of its name."""
        return self._record(META, done_key(digest), Kind.DONE)

    def items(self, table: bytes, prefix: bytes, first: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Keys that begin so, in order, with their values; nothing is checked. first: where to begin among them."""
        with self.transaction.cursor(self.environment.tables[table]) as cursor:
            if cursor.set_range(max(prefix, first)):
                for key, value in cursor:
                    if not key.startswith(prefix):
                        break
                    yield key, value

    def taken_bytes(self, key: bytes = TAKEN_KEY) -> int:
        """That value files hold of what is stored, or was and is still to be emptied: all, or one by its key."""
        record = self._record(META, key, Kind.TAKEN)
        return 0 if record is None else self._taken(key, record)

    def check_taken(self) -> None:
        """Raises LiveStoreCorrupt where what files hold is not the sum: one whose key was damaged seems to be empty."""
        records = [
            (key, self._opened(META, key, value, Kind.TAKEN)) for key, value in self.items(META, TAKEN_KEY + b"/")
        ]
        found, wanted = sum(self._taken(key, record) for key, record in records), self.taken_bytes()
        if found != wanted:
            raise self.damaged(META, TAKEN_KEY, f"{wanted} bytes, and {found} of all value files")

    def freed(self) -> Iterator[tuple[bytes, int, list[Place]]]:
        """Places that are still to be emptied: the record's key, the number of the commit that left them."""
        for key, value in self.items(META, FREED_PREFIX):
            record = self._opened(META, key, value, Kind.FREED)
            yield key, record.sequence, self._places(META, key, record)

    def held(self) -> Counter[int]:
        """What records refer to of each value file, in bytes, or did so until a commit whose places are to be emptied.

        Every record of the kind is looked at. One that is damaged refers to nothing that anybody could find.
        """
        held = Counter[int]()
        for table, prefix in ((FRAMES, b""), (CODES, b""), (META, FREED_PREFIX)):
            for key, value in self.items(table, prefix):
                with suppress(RecordDamaged):
                    for place in Record.opened(value, key, *Kind).referred():
                        held[place.file] += place.room_bytes
        return held

    def prove(self) -> None:
        """Reads everything; raises LiveStoreCorrupt at the first fault."""
        self._prove_videos()
        self._prove_taken()
        for key, value in self.items(META, DONE_PREFIX):
            self._opened(META, key, value, Kind.DONE)

    def _prove_videos(self) -> None:
        self.counters()
        count = 0
        for entry in self.entries(0):
            count += 1
            if self.entry_of(entry.video_id) != entry:
                raise self.damaged(CHANGES, sequence_key(entry.sequence), f"video {entry.video_id!r} leads elsewhere")
            if not entry.deleted:
                self.video(entry)
        found = self.transaction.stat(self.environment.tables[SEQUENCES])["entries"]
        if found != count:
            raise LiveStoreCorrupt(self.environment.path, "table sequences", f"{found} videos, wanted {count}")

    def _prove_taken(self) -> None:
        """No file may hold more than is known: it would be taken for empty while something lies there."""
        for _ in self.freed():
            pass  # each is opened
        self.check_taken()
        for file, size_bytes in self.held().items():
            taken = self.taken_bytes(taken_key(file))
            if taken < size_bytes:
                raise self.damaged(META, taken_key(file), f"{taken} bytes, wanted at least {size_bytes}")

    def damaged(self, table: bytes, key: bytes, reason: str) -> LiveStoreCorrupt:
        name = key.decode(errors="backslashreplace") if table == META else key.hex()
        return LiveStoreCorrupt(self.environment.path, f"table {table.decode()}, record {name}", reason)

    def _counters(self) -> tuple[Counters, int]:
        record = self._record(META, COUNTERS_KEY, Kind.COUNTERS)
        if record is None or len(record.payload) != COUNTERS.size:
            raise self.damaged(META, COUNTERS_KEY, "it is missing or has another length")
        revision, written_by = COUNTERS.unpack(record.payload)
        return Counters(record.sequence, revision), written_by

    def _taken(self, key: bytes, record: Record) -> int:
        if len(record.payload) != TAKEN.size:
            raise self.damaged(META, key, "it has another length")
        taken: int = TAKEN.unpack(record.payload)[0]
        return taken

    def _codes(self, key: bytes, record: Record, entry: Entry) -> np.ndarray:
        codes = self._array(CODES, key, record, CODES_DTYPE)
        if len(codes) != segment_count(entry.frame_count):
            raise self.damaged(CODES, key, f"{len(codes)} segments for {entry.frame_count} frames")
        return codes

    def _record(self, table: bytes, key: bytes, *kinds: Kind) -> Record | None:
        value = self.transaction.get(key, db=self.environment.tables[table])
        return None if value is None else self._opened(table, key, value, *kinds)

    def _opened(self, table: bytes, key: bytes, value: bytes, *kinds: Kind) -> Record:
        try:
            return Record.opened(value, key, *kinds)
        except RecordDamaged as damage:
            raise self.damaged(table, key, str(damage)) from None

    def _places(self, table: bytes, key: bytes, record: Record) -> list[Place]:
        try:
            return record.places()
        except RecordDamaged as damage:
            raise self.damaged(table, key, str(damage)) from None

    def _array(self, table: bytes, key: bytes, record: Record, dtype: np.dtype) -> np.ndarray:
        try:
            if record.kind is Kind.VALUE:
                (place,) = record.places()
                record = replace(record, payload=self.environment.values.read(place))
            return record.array(dtype)
        except RecordDamaged as damage:
            raise self.damaged(table, key, str(damage)) from None


def _entry(record: Record) -> Entry:
    deleted = record.kind is Kind.DELETED
    digest_bytes = 0 if deleted else DIGEST_BYTES
    video_id = str(record.payload[digest_bytes:], "utf-8")
    return Entry(record.sequence, video_id, bytes(record.payload[:digest_bytes]), deleted, record.rows)
