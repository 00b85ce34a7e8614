"""Value files: what is too long for LMDB's file, written by many threads side by side and synced for all of them.

Where it stands: an upload's thread appends before its operation joins a commit, `group_commit` syncs what a commit will
refer to, `snapshot` reads, `edit` says what is empty or not referred to any more; nothing here knows about LMDB. A
process appends to a file of its own, whose number is drawn at random and never used twice; no byte is ever written
anew. What a crash leaves behind is bytes that no record refers to.

The kernel tells a disk error once, and may have dropped what it could not write. So a file whose sync failed is never
synced again: all that waits for it is refused, whoever was told, and a new one is begun.
"""

import ctypes
import errno
import fcntl
import os
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np
from xxhash import xxh3_64_intdigest

from segsearch.core.files import make_directory, sync_directory
from segsearch.service.index.live.format import VALUE_FILE_BYTES
from segsearch.service.index.live.record import Place, RecordDamaged, in_blocks

NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NAME: Final = re.compile("[0-9a-f]{16}")
_OPEN_FILES: Final = 64  # at one time, to read from
_PIECES: Final = 1_000  # of one call; the kernel takes 1,024
_HOLE: Final = 1 | 2  # of fallocate(2): the file keeps its size, a hole is punched
_LIBC: Final = ctypes.CDLL(None)
_FALLOCATE: Final = getattr(_LIBC, "fallocate", None)  # Linux's
_SYNC_FILE_RANGE: Final = getattr(_LIBC, "sync_file_range", None)  # Linux's
_BEGIN_WRITING: Final = 2  # of sync_file_range(2): what is written is sent to the disk, nothing is waited for


class ValueFiles:
    """The value files of one store, as one process uses them. Threads share it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.unlisted = True  # there may be files that no record refers to and nobody has looked for
        self._reserving = Lock()
        self._current: _OwnFile | None = None
        self._readable = lru_cache(_OPEN_FILES)(self._opened)

    def append(self, contents: Sequence[memoryview]) -> list[Place]:
        """Returns where the contents are, to be synced; raises OSError, and then holds nothing of them."""
        sums = [xxh3_64_intdigest(content) for content in contents]
        file, offset = self._reserved(sum(in_blocks(len(content)) for content in contents))
        places, pieces = [], []
        for content, content_sum in zip(contents, sums, strict=True):
            places.append(Place(file.number, offset, len(content), content_sum, file))
            pieces += [content, memoryview(bytes(places[-1].room_bytes - len(content)))]
            offset += places[-1].room_bytes
        try:
            file.write(pieces[:-1], places[0].offset)
        except BaseException:
            self.empty(places)
            raise
        return places

    def sync(self, places: Iterable[Place]) -> None:
        """Returns when what was appended there is on disk; raises OSError, each time, where that may not be so.

        For one thread at a time.
        """
        for file in {place.own_file for place in places}:
            assert isinstance(file, _OwnFile)
            file.sync()

    def read(self, place: Place) -> memoryview:
        """The bytes at a place; raises RecordDamaged where they are not what was written, OSError."""
        content = np.empty(place.size_bytes, np.uint8)
        try:
            descriptor = self._readable(place.file)
        except FileNotFoundError:
            raise RecordDamaged(f"value file {_name(place.file)} is missing") from None
        done = 0
        while done < len(content):
            try:
                count = os.preadv(descriptor.number, [content[done:].data], place.offset + done)
            except OSError as error:
                raise RecordDamaged(f"value file {_name(place.file)} cannot be read: {error}") from None
            if not count:
                raise RecordDamaged(f"value file {_name(place.file)} ends before {place.offset + len(content)} bytes")
            done += count
        found = xxh3_64_intdigest(content.data)
        if found != place.sum:
            where = f"at {place.offset} in value file {_name(place.file)}"
            raise RecordDamaged(f"xxh3 {found:016x}, wanted {place.sum:016x} {where}")
        return content.data.toreadonly()

    def empty(self, places: Iterable[Place]) -> None:
        """Gives the blocks of places that nobody refers to back to the file system, where it can take them."""
        by_file: dict[int, list[Place]] = {}
        for place in places:
            by_file.setdefault(place.file, []).append(place)
        for file, its_places in by_file.items():
            with suppress(OSError):
                descriptor = _Descriptor(os.open(self._path(file), os.O_RDWR | os.O_CLOEXEC))
                for place in its_places:
                    _punch(descriptor.number, place.offset, place.room_bytes)

    def numbers(self) -> list[int]:
        """Of all files that are there."""
        with suppress(OSError):
            return [int(path.name, 16) for path in self.folder.iterdir() if _NAME.fullmatch(path.name)]
        return []

    def remove(self, number: int) -> None:
        """Removes a file that nobody refers to, unless somebody may append to it, in whatever process."""
        with suppress(OSError):
            descriptor = _Descriptor(os.open(self._path(number), os.O_RDWR | os.O_CLOEXEC))
            fcntl.flock(descriptor.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor.number, 0)  # whoever has it open to read would keep its blocks
            self._path(number).unlink()

    def close(self) -> None:
        self._current = None
        self._readable.cache_clear()

    def _reserved(self, size_bytes: int) -> "tuple[_OwnFile, int]":
        """A file, and from where on so many bytes of it are the caller's."""
        with self._reserving:
            file = self._current
            if file is None or file.failure is not None or 0 < file.end > VALUE_FILE_BYTES - size_bytes:
                file = self._current = self._created()
                self.unlisted = True  # the one before may hold nothing any more
            offset, file.end = file.end, file.end + size_bytes
            return file, offset

    def _created(self) -> "_OwnFile":
        """A new file whose name is on disk."""
        make_directory(self.folder)
        while True:
            number = secrets.randbits(63)
            with suppress(FileExistsError, BlockingIOError):
                file = _OwnFile(self._path(number), number)
                if not file.is_removed():  # by one who took it for left, before it was locked
                    break
        for folder in (self.folder, self.folder.parent):  # another process may have made it and been killed
            sync_directory(folder)
        return file

    def _opened(self, number: int) -> "_Descriptor":
        return _Descriptor(os.open(self._path(number), os.O_RDONLY | os.O_CLOEXEC))

    def _path(self, number: int) -> Path:
        return self.folder / _name(number)


class _Descriptor:
    """An open file, closed once nobody has it any more."""

    __slots__ = ("number",)

    def __init__(self, number: int):
        self.number = number

    def __del__(self, _close: Callable[[int], None] = os.close) -> None:
        _close(self.number)


class _OwnFile:
    """A file that this process appends to, locked against being removed as long as this object is there."""

    def __init__(self, path: Path, number: int):
        self.number, self.end = number, 0
        self.failure: tuple[int, str] | None = None  # once it is there, nothing is added
        self._unsynced = False
        self._descriptor = _Descriptor(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        fcntl.flock(self._descriptor.number, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def is_removed(self) -> bool:
        return not os.fstat(self._descriptor.number).st_nlink

    def write(self, pieces: list[memoryview], offset: int) -> None:
        """Writes them behind each other, to be synced; the disk begins with them at once."""
        size_bytes = sum(map(len, pieces))
        try:
            _write(self._descriptor.number, pieces, offset)
        except OSError as error:
            if error.errno not in NO_ROOM:
                self.failure = error.errno or errno.EIO, error.strerror or str(error)
            raise
        self._unsynced = True
        _send(self._descriptor.number, offset, size_bytes)

    def sync(self) -> None:
        """Brings what was written to the disk. Whoever was told of a failure, it is everybody's from then on."""
        if self.failure is None and self._unsynced:
            self._unsynced = False  # first: what is written from here on may not be among it
            try:
                os.fdatasync(self._descriptor.number)
            except OSError as error:
                self.failure = error.errno or errno.EIO, error.strerror or str(error)
        if self.failure is not None:
            raise OSError(*self.failure)


def _write(descriptor: int, pieces: list[memoryview], offset: int) -> None:
    while pieces:
        written = os.pwritev(descriptor, pieces[:_PIECES], offset)
        offset += written
        while pieces and written >= len(pieces[0]):
            written -= len(pieces.pop(0))
        if written:
            pieces[0] = pieces[0][written:]


def _send(descriptor: int, offset: int, size_bytes: int) -> None:
    if _SYNC_FILE_RANGE is not None:  # where it fails, the sync does it, and tells of errors
        _SYNC_FILE_RANGE(descriptor, ctypes.c_int64(offset), ctypes.c_int64(size_bytes), _BEGIN_WRITING)


def _punch(descriptor: int, offset: int, size_bytes: int) -> None:
    if _FALLOCATE is not None:  # where it fails, as on file systems without holes, the room stays taken
        _FALLOCATE(descriptor, _HOLE, ctypes.c_int64(offset), ctypes.c_int64(size_bytes))


def _name(number: int) -> str:
    return f"{number:016x}"
