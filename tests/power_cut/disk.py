"""A disk and the page cache above it: what a process did, and what of it a power cut may leave.

Nothing is promised but what was synced. Of everything else a sector, a file's size and a name each may be as it was
synced last, as it is in the cache, or as it was at any moment between; a name is on disk once its folder is synced,
whatever was done about the file. What a failed sync did not bring to the disk no later one brings there, unless it is
written again: the kernel takes it for clean from then on.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar

from tests.power_cut.recording import Record

SECTOR = 512  # bytes that a disk writes at once

Option = TypeVar("Option")
Change = dict[str, "File | Folder | None"]  # of names in one folder, at once; None: removed


class Fate:
    """What becomes of all that was not synced: everything is lost, or kept, or each part has a fate of its own."""

    def __init__(self, kind: Literal["lost", "kept", "torn"], seed: int = 0):
        self.kind, self.random = kind, random.Random(seed)
        self._kept = self.random.choice((0.1, 0.5, 0.9))  # of the parts

    def one(self, options: Sequence[Option]) -> Option:
        """options: what is on disk for certain, then each thing that was to take its place."""
        if self.kind != "torn" or len(options) == 1:
            return options[-1 if self.kind == "kept" else 0]
        return self.random.choice(options[1:]) if self.random.random() < self._kept else options[0]

    def some(self, changes: Sequence[Change]) -> Sequence[Change]:
        """Which changes of a folder are on disk: those up to some moment, as journals have it, or any of them."""
        if self.kind != "torn":
            return changes if self.kind == "kept" else ()
        if self.random.random() < 0.5:
            return changes[: self.random.randint(0, len(changes))]
        return [change for change in changes if self.random.random() < self._kept]

    def rubbish(self, size: int) -> bytes:
        return self.random.randbytes(size) if self.kind == "torn" else bytes(size)


class File:
    """One file's bytes."""

    def __init__(self):
        self.cache = bytearray()
        self.mapped = False  # written to by other ways than calls
        self._durable: dict[int, bytes] = {}  # by sector
        self._durable_size = 0
        self._pending: dict[int, list[bytes]] = {}  # each sector's contents since it was synced
        self._pending_sizes: list[int] = []
        self._given_up: set[int] = set()  # sectors that a failed sync has left behind

    def write(self, offset: int, content: bytes, *, synced: bool = False, failed: bool = False) -> None:
        end = offset + len(content)
        self.cache.extend(bytes(max(0, end - len(self.cache))))
        self.cache[offset:end] = content
        sectors = range(offset // SECTOR, -(-end // SECTOR))
        self._note(sectors)
        if synced and not failed:
            self._reach_disk(sectors)
        elif failed:
            self._given_up.update(sectors)

    def empty(self, offset: int, length: int) -> None:
        """Zeros, as far as the file goes."""
        self.write(offset, bytes(max(0, min(length, len(self.cache) - offset))))

    def resize(self, size: int) -> None:
        before = len(self.cache)
        self.cache.extend(bytes(max(0, size - before)))
        del self.cache[size:]
        self._note(range(size // SECTOR, -(-before // SECTOR)))

    def sync(self, *, failed: bool) -> None:
        if failed:
            self._given_up.update(self._pending)
        else:
            self._reach_disk([sector for sector in self._pending if sector not in self._given_up])

    def left(self, fate: Fate) -> bytes:
        size = fate.one([self._durable_size, *self._pending_sizes])
        if self.mapped:
            return fate.rubbish(size)
        content = bytearray(size)
        for sector in sorted(self._durable.keys() | self._pending.keys()):
            start = sector * SECTOR
            own = fate.one([self._durable.get(sector, b""), *self._pending.get(sector, ())])[: max(0, size - start)]
            content[start : start + len(own)] = own
        return bytes(content)

    def _note(self, sectors: range) -> None:
        for sector in sectors:
            content = bytes(self.cache[sector * SECTOR : (sector + 1) * SECTOR])
            self._pending.setdefault(sector, []).append(content)
            self._given_up.discard(sector)
        self._pending_sizes.append(len(self.cache))

    def _reach_disk(self, sectors: Sequence[int]) -> None:
        for sector in sectors:
            self._durable[sector] = self._pending.pop(sector)[-1]
        self._durable_size = len(self.cache)
        self._pending_sizes.clear()


class Folder:
    """One folder's names."""

    def __init__(self):
        self.names: dict[str, File | Folder] = {}
        self._durable: dict[str, File | Folder] = {}
        self._pending: list[Change] = []

    def change(self, names: Change) -> None:
        _apply(self.names, names)
        self._pending.append(names)

    def sync(self, *, failed: bool) -> None:
        if not failed:
            self._durable = dict(self.names)
            self._pending.clear()

    def left(self, fate: Fate) -> dict[str, "File | Folder"]:
        found = dict(self._durable)
        for change in fate.some(self._pending):
            _apply(found, change)
        return found

    def write_to(self, place: Path, fate: Fate) -> None:
        """Makes `place` and all below it as the power cut leaves them."""
        place.mkdir()
        for name, thing in self.left(fate).items():
            if isinstance(thing, Folder):
                thing.write_to(place / name, fate)
            else:
                (place / name).write_bytes(thing.left(fate))


class Disk:
    """All below one folder, which was empty; `apply` brings it one call further."""

    def __init__(self, root: Path):
        self.root, self.top = root, Folder()
        self._by_inode: dict[int, File | Folder] = {root.stat().st_ino: self.top}

    def apply(self, record: Record) -> None:
        if record.kind in "ODURLM":
            self._apply_names(record)
        elif record.kind in "WTASZ":
            thing = self._by_inode[record.inode]
            if record.kind == "S":
                thing.sync(failed=bool(record.flag))
                return
            assert isinstance(thing, File)
            if record.kind == "W":
                thing.write(record.offset, record.content, synced=bool(record.flag & 1), failed=bool(record.flag & 2))
            elif record.kind == "Z":
                thing.empty(record.offset, int(record.content))
            elif record.kind == "T" or record.offset > len(thing.cache):
                thing.resize(record.offset)
        else:
            assert record.kind in "PF", record

    def differences(self) -> list[str]:
        """Where the cache is not what lies at `root`: something that the shim did not see."""
        return _differences(self.top, self.root)

    def _apply_names(self, record: Record) -> None:
        folder, name = self._place(record.paths[0])
        if record.kind == "M":
            self._by_inode[record.inode].mapped = True
        elif record.kind == "U":
            folder.change({name: None})
        elif record.kind in "RL":
            self._move(folder, name, *self._place(record.paths[1]), leaves=record.kind == "L")
        else:
            if name not in folder.names:
                folder.change({name: Folder() if record.kind == "D" else File()})
            thing = self._by_inode[record.inode] = folder.names[name]
            if record.flag:
                thing.resize(0)

    @staticmethod
    def _move(old: Folder, old_name: str, new: Folder, new_name: str, *, leaves: bool) -> None:
        thing = old.names[old_name]
        if leaves:
            new.change({new_name: thing})
        elif old is new:
            new.change({old_name: None, new_name: thing})
        else:
            new.change({new_name: thing})
            old.change({old_name: None})

    def _place(self, path: Path) -> tuple[Folder, str]:
        folder = self.top
        *above, name = path.relative_to(self.root).parts
        for part in above:
            below = folder.names[part]
            assert isinstance(below, Folder)
            folder = below
        return folder, name


def _apply(names: dict[str, "File | Folder"], change: Change) -> None:
    for name, thing in change.items():
        if thing is None:
            names.pop(name, None)
        else:
            names[name] = thing


def _differences(folder: Folder, place: Path) -> list[str]:
    there = {path.name: path for path in place.iterdir()}
    found = [f"{place}: {sorted(there)}, noted {sorted(folder.names)}"] if there.keys() != folder.names.keys() else []
    for name, path in there.items():
        thing = folder.names.get(name)
        if isinstance(thing, Folder):
            found += _differences(thing, path)
        elif isinstance(thing, File) and not thing.mapped and path.read_bytes() != thing.cache:
            found.append(f"{path}: other bytes than noted")
    return found
