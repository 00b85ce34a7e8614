"""A change that its caller gave a name, to be done once: whoever repeats it, after a restart or at another process, is
told what came of it the first time.

Where it stands: `store` makes one of an operation, `group_commit` carries it out like any other. The commit that does
it notes its name: both are on disk, or neither. After a day it may be forgotten. Nothing lists names by age: each that
is noted looks at a few others, from a random place on and round, and at many where all of these were old. At an even
rate hardly more than a third more stand there than a day brought, and what a busy day left goes with the first of a
quiet one.
"""

import hashlib
import secrets
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final

from segsearch.core.errors import IdempotencyKeyReused
from segsearch.service.index.live.edit import Edit
from segsearch.service.index.live.format import DONE_PREFIX, META, done_key
from segsearch.service.index.live.operations import Operation, Stored
from segsearch.service.index.live.record import Draft, Kind, Place, Record, RecordDamaged
from segsearch.service.index.live.snapshot import DIGEST_BYTES, Snapshot

KEPT_S: Final = 24 * 3600
_LOOKED_AT: Final = 4  # others, for each that is noted
_LOOKED_ON: Final = 128  # where all of those were old
_LENGTH: Final = struct.Struct("<Q")
_DONE: Final = struct.Struct(f"<{DIGEST_BYTES}sQ")  # digest of what was asked, seconds since 1970


@dataclass(frozen=True, slots=True)
class Name:
    """What a caller calls a change."""

    digest: bytes  # SHA-256 of who asks, and of the name
    request: bytes  # SHA-256 of what is asked: another one by the same name is refused
    at_s: int  # seconds since 1970, as it is asked
    field: str  # where the name stands in the request, for errors

    @classmethod
    def of(cls, owner: str, called: str, request: bytes, field: str) -> "Name":
        """Of a change that is asked for now. owner: whose names these are, the id of an API key or nothing."""
        return cls(digest_of(owner.encode(), called.encode()), request, int(time.time()), field)


@dataclass(frozen=True, slots=True)
class Once:
    """An operation that is carried out unless one of its name was."""

    operation: Operation
    name: Name

    @property
    def video_id(self) -> str | None:
        return self.operation.video_id

    @property
    def size_bytes(self) -> int:
        return self.operation.size_bytes

    @property
    def places(self) -> list[Place]:
        return self.operation.places

    def apply(self, edit: Edit) -> Stored | None:
        stored = first_answer(edit.snapshot, self.name)
        if stored is None:
            stored = self.operation.apply(edit)
            assert stored is not None
            _note(edit, self.name, stored)
            _forget_others(edit, self.name.at_s)
        return stored


def once(making: Callable[[], Operation], name: Name | None) -> Callable[[], Operation]:
    """The same operation, to be done once where it has a name."""
    return making if name is None else lambda: Once(making(), name)


def digest_of(*parts: bytes | memoryview) -> bytes:
    """SHA-256 of several parts, each with its length."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(_LENGTH.pack(len(part)))
        digest.update(part)
    return digest.digest()


def first_answer(snapshot: Snapshot, name: Name) -> Stored | None:
    """What came of the change of this name; None where there was none within a day. Raises IdempotencyKeyReused."""
    record = snapshot.done(name.digest)
    if record is None:
        return None
    request, at_s = _facts(record)
    if at_s + KEPT_S <= name.at_s:
        return None
    if request != name.request:
        raise IdempotencyKeyReused(name.field)
    return Stored(record.sequence, unchanged=bool(record.rows))


def _note(edit: Edit, name: Name, stored: Stored) -> None:
    draft = Draft.of(Kind.DONE, _DONE.pack(name.request, name.at_s), rows=stored.unchanged)
    edit.put(META, done_key(name.digest), draft, stored.sequence)


def _forget_others(edit: Edit, now_s: int) -> None:
    begin = done_key(secrets.token_bytes(DIGEST_BYTES))
    for count in (_LOOKED_AT, _LOOKED_ON):
        on_and_round = chain(edit.snapshot.items(META, DONE_PREFIX, begin), edit.snapshot.items(META, DONE_PREFIX))
        found = dict(islice(on_and_round, count))
        old = [key for key, value in found.items() if _is_old(key, value, now_s)]
        for key in old:
            edit.remove(META, key)
        if len(old) < len(found):
            break


def _is_old(key: bytes, value: bytes, now_s: int) -> bool:
    try:
        return _facts(Record.opened(value, key, Kind.DONE))[1] + KEPT_S <= now_s
    except RecordDamaged:
        return False  # `verify` tells of it


def _facts(record: Record) -> tuple[bytes, int]:
    request, at_s = _DONE.unpack(record.payload)
    return request, at_s
