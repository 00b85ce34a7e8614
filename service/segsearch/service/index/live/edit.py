"""One transaction that writes: records, the counters, and what value files hold of it all.

Where it stands: `group_commit` opens one for each commit, `operations` write into it.

A place in a value file becomes free in three steps, so that neither a power cut nor a reader finds it gone. The commit
that takes its record away notes the place as freed. Once this process knows that commit to be on disk, and nobody reads
an older one any more, the place is emptied, and within the same transaction it is taken off the list: whoever is killed
in between empties it twice. A file that holds nothing any more is removed. A flipped bit in what is noted keeps nobody
from uploading: what records refer to is counted anew.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Final

from segsearch.core.errors import LiveStoreCorrupt
from segsearch.service.index.live.format import (
    CHANGES,
    CODES,
    COUNTERS_KEY,
    FORMAT_KEY,
    FORMAT_VERSION,
    FRAMES,
    FREED_PREFIX,
    META,
    SEQUENCES,
    TAKEN_KEY,
    freed_key,
    taken_key,
)
from segsearch.service.index.live.record import Draft, Kind, Place, Record, RecordDamaged, packed
from segsearch.service.index.live.snapshot import COUNTERS, TAKEN, Counters, Entry, Snapshot, sequence_key, video_key

# How many freed places one commit goes on to empty, and of how many commits: there are more where somebody read long.
_EMPTIED: Final = 1_000
_LOOKED_AT: Final = 64


class Edit:
    """A transaction that writes, and the counters as they will be when it commits."""

    def __init__(self, snapshot: Snapshot, on_disk: int):
        """on_disk: a commit that is, with all before it; 0: none is known to be."""
        self.snapshot, self.counters, self.changed = snapshot, snapshot.counters(), False
        self.added_bytes = 0  # by uploads, to LMDB's file
        self.kept: set[Place] = set()  # to which records refer from now on
        self._freed: set[Place] = set()
        self._taken = Counter[int]()  # bytes by value file: what changes
        self._on_disk = on_disk

    def next_sequence(self) -> int:
        self.counters = Counters(self.counters.sequence + 1, self.counters.revision)
        return self.counters.sequence

    def put(self, table: bytes, key: bytes, draft: Draft, sequence: int) -> None:
        tables = self.snapshot.environment.tables
        self.snapshot.transaction.put(key, draft.sealed(key, sequence), db=tables[table])
        self.changed = True
        if draft.place is not None:
            self._keep(draft.place)

    def remove(self, table: bytes, key: bytes) -> None:
        value = self.snapshot.transaction.pop(key, db=self.snapshot.environment.tables[table])
        if value is not None:
            self.changed = True
            self._let_go(key, value)

    def remove_change(self, sequence: int) -> None:
        """Removes one change's record with its frames and codes."""
        key = sequence_key(sequence)
        self.remove(CHANGES, key)
        self.remove(FRAMES, key)
        for codes_key in [found for found, _ in self.snapshot.items(CODES, key)]:
            self.remove(CODES, codes_key)

    def record_change(self, video_id: str, draft: Draft, before: Entry | None) -> int:
        """Writes a video's change over the one before; returns its sequence number."""
        if before is not None:
            self.remove_change(before.sequence)
        sequence, key = self.next_sequence(), video_key(video_id)
        self.put(CHANGES, sequence_key(sequence), draft, sequence)
        self.put(SEQUENCES, key, Draft.of(Kind.SEQUENCE, b""), sequence)
        return sequence

    def finish(self) -> bool:
        """Writes the counters; False where nothing was written that is worth a commit. Raises lmdb.MapFullError where
        uploads leave too little room.
        """
        if self.changed:
            self._note_freed()
            taken_bytes = self._settled_taken()
            self.counters = Counters(self.counters.sequence, self.counters.revision + 1)
            draft = counters_draft(self.counters, self.snapshot.transaction.id())
            self.put(META, COUNTERS_KEY, draft, self.counters.sequence)
            if self.added_bytes:
                self.snapshot.environment.keep_reserve(self.snapshot.transaction, self.added_bytes, taken_bytes)
        return self.changed

    def _keep(self, place: Place) -> None:
        if place in self._freed:  # it has another key now
            self._freed.remove(place)
            return
        if not self.kept:
            version, space = self.snapshot.format()
            if version < FORMAT_VERSION:  # from now on releases that know no value files refuse the store
                self.put(META, FORMAT_KEY, format_draft(space), 0)
        self.kept.add(place)
        self._taken[place.file] += place.room_bytes

    def _let_go(self, key: bytes, value: bytes) -> None:
        with suppress(RecordDamaged):  # nobody knows its place, which stays taken
            self._freed.update(Record.opened(value, key, Kind.VALUE).places())

    def _note_freed(self) -> None:
        if self._freed:
            number = self.snapshot.transaction.id()
            self.put(META, freed_key(number), Draft.of(Kind.FREED, packed(self._freed)), number)

    def _settled_taken(self) -> int:
        """Empties and removes what can be, and writes what value files hold then; returns the sum."""
        try:
            return self._next_taken()
        except LiveStoreCorrupt:
            self._count_anew()
            return self._next_taken()

    def _next_taken(self) -> int:
        self._empty_freed()
        self._remove_unlisted()
        return self._write_taken()

    def _empty_freed(self) -> None:
        emptied: list[Place] = []
        for key, places in list(islice(self._unread(), _LOOKED_AT)):
            if len(emptied) < _EMPTIED:
                emptied += places
                self.remove(META, key)
        self.snapshot.environment.values.empty(emptied)
        for place in emptied:
            self._taken[place.file] -= place.room_bytes

    def can_make_room(self) -> bool:
        """Whether committing this, be it empty, gives places back, or brings that nearer."""
        try:
            return any(self._unread() if self._on_disk else self.snapshot.freed())
        except LiveStoreCorrupt:
            return True

    def _unread(self) -> Iterator[tuple[bytes, list[Place]]]:
        """Freed places that no commit refers to which somebody reads, or finds after a power cut."""
        until = None
        for key, commit, places in self.snapshot.freed():
            if until is None:
                until = min(self._on_disk, self.snapshot.environment.oldest_read())
            if commit > until:
                break
            yield key, places

    def _remove_unlisted(self) -> None:
        """Files of processes that ended before a record referred to them, or after the last one did. Only when the last
        commit is on disk, and nobody reads an older one.
        """
        values, last = self.snapshot.environment.values, self.snapshot.transaction.id() - 1
        if values.unlisted and min(self._on_disk, self.snapshot.environment.oldest_read()) == last:
            self.snapshot.check_taken()
            values.unlisted = False
            for number in values.numbers():
                if not self._taken[number] and not self.snapshot.taken_bytes(taken_key(number)):
                    values.remove(number)

    def _count_anew(self) -> None:
        """Writes what value files hold by what records tell, and removes what is damaged of what was noted."""
        held, noted = self.snapshot.held(), list(self.snapshot.items(META, TAKEN_KEY))
        noted += [(key, value) for key, value in self.snapshot.items(META, FREED_PREFIX) if _is_damaged(key, value)]
        for key, _ in noted:
            self.snapshot.transaction.delete(key, db=self.snapshot.environment.tables[META])
        for file, size_bytes in held.items():
            self.put(META, taken_key(file), _taken_draft(size_bytes), 0)
        self.put(META, TAKEN_KEY, _taken_draft(held.total()), 0)
        self._taken.clear()
        self.snapshot.environment.values.unlisted = True

    def _write_taken(self) -> int:
        taken = {file: self.snapshot.taken_bytes(taken_key(file)) + change for file, change in self._taken.items()}
        if min(taken.values(), default=1) <= 0:
            self.snapshot.check_taken()
        for file, size_bytes in taken.items():
            if size_bytes > 0:
                self.put(META, taken_key(file), _taken_draft(size_bytes), 0)
            else:
                self.remove(META, taken_key(file))
                self.snapshot.environment.values.remove(file)
        sum_bytes = self.snapshot.taken_bytes() + self._taken.total()
        if self._taken:
            self.put(META, TAKEN_KEY, _taken_draft(max(0, sum_bytes)), 0)
        return sum_bytes


def _is_damaged(key: bytes, value: bytes) -> bool:
    try:
        Record.opened(value, key, Kind.FREED).places()
    except RecordDamaged:
        return True
    return False


def format_draft(space: str) -> Draft:
    return Draft.of(Kind.FORMAT, space.encode(), rows=FORMAT_VERSION)


def counters_draft(counters: Counters, transaction: int) -> Draft:
    """transaction: LMDB's number of the commit that writes them."""
    return Draft.of(Kind.COUNTERS, COUNTERS.pack(counters.revision, transaction))


def _taken_draft(size_bytes: int) -> Draft:
    return Draft.of(Kind.TAKEN, TAKEN.pack(size_bytes))
