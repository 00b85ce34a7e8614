"""How one value of the live store is encoded: a header of 32 bytes with a checksum, and the payload behind it.

Where it stands: `operations` seal records, `snapshot` opens them; nothing here knows about LMDB. The checksum covers
header, key and payload, so that a record under a wrong key is as damaged as one with a flipped bit. Nothing is
unpickled: a payload is raw bytes whose shape the header tells. A long array's payload is the place of its bytes in a
value file, with their checksum: the record proves the place, the place its bytes.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

import numpy as np
from xxhash import xxh3_64_intdigest

_MAGIC: Final = b"SgLR"
# magic, kind, three zeros, rows, columns, sequence; then the checksum of all that, the key and the payload
_FACTS: Final = struct.Struct("<4sB3xIIQ")
_CHECKSUM: Final = struct.Struct("<Q")
_PLACE: Final = struct.Struct("<QQQQ")  # number of a value file, offset, bytes, their xxh3
HEADER_BYTES: Final = _FACTS.size + _CHECKSUM.size
BLOCK_BYTES: Final = 4_096  # values begin at multiples: no two share a block of the disk


class Kind(IntEnum):
    """What a record is of."""

    FORMAT = 1
    COUNTERS = 2
    SEQUENCE = 3
    PUT = 4
    DELETED = 5
    FRAMES = 6
    CODES = 7
    VALUE = 8  # frames or codes that lie in a value file
    FREED = 9
    TAKEN = 10
    DONE = 11


class RecordDamaged(Exception):
    """A record that is not what was written; says what differs. `snapshot` adds the place."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where bytes lie in a value file, and their checksum."""

    file: int
    offset: int
    size_bytes: int
    sum: int
    own_file: object = field(default=None, compare=False, repr=False)  # open, as this process wrote it: not removed

    @property
    def room_bytes(self) -> int:
        """What it takes of the file, in whole blocks."""
        return in_blocks(self.size_bytes)

    def packed(self) -> bytes:
        return _PLACE.pack(self.file, self.offset, self.size_bytes, self.sum)


@dataclass(frozen=True, slots=True)
class Draft:
    """A record that waits for its sequence number. What takes long, copying and hashing, is done."""

    kind: Kind
    rows: int
    columns: int
    value: memoryview  # header, still empty, and payload
    payload_sum: int
    place: Place | None = None  # of an array in a value file

    @classmethod
    def of(cls, kind: Kind, payload: bytes, rows: int = 0, columns: int = 0, place: Place | None = None) -> "Draft":
        value = memoryview(bytearray(HEADER_BYTES) + payload)
        return cls(kind, rows, columns, value, xxh3_64_intdigest(payload), place)

    @classmethod
    def of_array(cls, kind: Kind, array: np.ndarray, dtype: np.dtype) -> "Draft":
        """array: two axes."""
        rows, columns = array.shape
        value = np.empty(HEADER_BYTES + array.size * dtype.itemsize, np.uint8)  # half a megabyte is not worth zeroing
        payload = value[HEADER_BYTES:]
        payload.view(dtype).reshape(rows, columns)[...] = array
        return cls(kind, rows, columns, value.data, xxh3_64_intdigest(payload.data))

    @classmethod
    def of_place(cls, place: Place, rows: int, columns: int) -> "Draft":
        """Of an array whose bytes lie in a value file."""
        return cls.of(Kind.VALUE, place.packed(), rows, columns, place)

    @classmethod
    def again(cls, record: "Record") -> "Draft":
        """Of what is stored, to store it under another key; an array in a value file stays where it is.

        Raises RecordDamaged.
        """
        place = record.places()[0] if record.kind is Kind.VALUE else None
        return cls.of(record.kind, bytes(record.payload), record.rows, record.columns, place)

    def sealed(self, key: bytes, sequence: int) -> memoryview:
        """The value to store under `key`."""
        _FACTS.pack_into(self.value, 0, _MAGIC, self.kind, self.rows, self.columns, sequence)
        _CHECKSUM.pack_into(self.value, _FACTS.size, _sum(bytes(self.value[: _FACTS.size]), key, self.payload_sum))
        return self.value


@dataclass(frozen=True, slots=True)
class Record:
    """A record whose checksum held."""

    kind: Kind
    rows: int
    columns: int
    sequence: int
    payload: memoryview

    @classmethod
    def opened(cls, value: bytes, key: bytes, *kinds: Kind) -> "Record":
        """Checks a value that was found under `key` and may be one of `kinds`; raises RecordDamaged."""
        if len(value) < HEADER_BYTES:
            raise RecordDamaged(f"{len(value)} bytes, wanted at least {HEADER_BYTES}")
        payload = memoryview(value)[HEADER_BYTES:]
        (wanted,) = _CHECKSUM.unpack_from(value, _FACTS.size)
        found = _sum(value[: _FACTS.size], key, xxh3_64_intdigest(payload))
        if found != wanted:
            raise RecordDamaged(f"xxh3 {found:016x}, wanted {wanted:016x}")
        magic, kind, rows, columns, sequence = _FACTS.unpack_from(value)
        if magic != _MAGIC or kind not in kinds:
            raise RecordDamaged(f"a record of kind {kind}, wanted {' or '.join(wish.name.lower() for wish in kinds)}")
        return cls(Kind(kind), rows, columns, sequence, payload)

    def places(self) -> list[Place]:
        """Those that its payload lists; raises RecordDamaged where it lists none."""
        if len(self.payload) % _PLACE.size:
            raise RecordDamaged(f"{len(self.payload)} bytes, wanted {_PLACE.size} for each place")
        return [Place(*facts) for facts in _PLACE.iter_unpack(self.payload)]

    def referred(self) -> list[Place]:
        """Those that it keeps from being used; raises RecordDamaged."""
        return self.places() if self.kind in (Kind.VALUE, Kind.FREED) else []

    def array(self, dtype: np.dtype) -> np.ndarray:
        """(rows, columns), read-only; raises RecordDamaged where the payload has another length."""
        wanted = self.rows * self.columns * dtype.itemsize
        if len(self.payload) != wanted:
            raise RecordDamaged(f"{len(self.payload)} bytes of {self.rows} x {self.columns}, wanted {wanted}")
        return np.frombuffer(self.payload, dtype).reshape(self.rows, self.columns)


def in_blocks(size_bytes: int) -> int:
    return -(-size_bytes // BLOCK_BYTES) * BLOCK_BYTES


def packed(places: Iterable[Place]) -> bytes:
    return b"".join(place.packed() for place in places)


def _sum(facts: bytes, key: bytes, payload_sum: int) -> int:
    # The seed chains the payload in: its sum is known before the header's facts are.
    return xxh3_64_intdigest(facts + key, seed=payload_sum)
