"""LMDB as the live store uses it: opened once, checked first, and with our errors.

Where it stands: `store` opens it, `snapshot` and `operations` work in its transactions. LMDB lets one process write at
a time and any number read; a reader sees one commit, never parts of the next. A commit is written and fsynced before
it returns; a process that dies in between leaves the commit before.

What a sync could not bring to the disk is never counted on: LMDB's next commit writes each of its pages again. Where it
could not write a meta page it refuses every transaction from then on; then its file is closed and opened anew, as a
restart would do it.
"""

import errno
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any, Final, NoReturn

import lmdb

from segsearch.core.errors import LiveStoreCorrupt, SegsearchError, StorageFailed, StorageFull
from segsearch.core.files import make_directory, sync_directory
from segsearch.service.index.live.data_file import (
    LastCommit,
    Meta,
    check_at_rest,
    check_structure,
    read_head,
    write_head,
)
from segsearch.service.index.live.format import (
    DATA_FILE,
    HEAD_FILE,
    META,
    READER_SLOTS,
    RESERVE_BYTES,
    TABLES,
    VALUES_FOLDER,
)
from segsearch.service.index.live.record import Place
from segsearch.service.index.live.value_files import NO_ROOM, ValueFiles

_ENGINE: Final = 0  # LMDB 0.9's file format; the library's default may change, our files don't
_PROBE_KEY: Final = b"reserve"
_LEAVE_S: Final = 5.0  # for transactions under way to end before the file is opened anew
_DAMAGED: Final = (
    lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.IncompatibleError,
    lmdb.NotFoundError,
)  # fmt: skip

Transaction = Any  # lmdb's classes are written in C and ship no types that mypy may see


class Environment:
    """An open LMDB environment with the live store's tables. Threads share it; a forked child must open its own."""

    def __init__(self, directory: Path, map_bytes: int, *, readonly: bool):
        """Raises LiveStoreCorrupt, or StorageFailed where the files cannot be opened."""
        self.directory, self.path, self.readonly = directory, directory / DATA_FILE, readonly
        self._process, self._map_bytes = os.getpid(), map_bytes
        self.values = ValueFiles(directory / VALUES_FOLDER)
        self._opening = Lock()
        self._openings = 0
        self._inside: list[None] = []  # one for each thread that uses LMDB now
        self._open()

    def _open(self) -> None:
        self._settled = False
        self._openings += 1
        with self._our_errors():
            noted = read_head(self.directory / HEAD_FILE)  # first: commits that follow don't matter
            meta = Meta.read(self.path)
            if meta.transaction < noted:
                found = f"commit {meta.transaction} is the last, wanted {noted} as `{HEAD_FILE}` says"
                raise LiveStoreCorrupt(self.path, "the meta pages", found)
            # Another process may have let the file grow further than we would.
            map_bytes = max(self._map_bytes, meta.map_bytes)
            opened = lmdb.open(
                str(self.directory), map_size=map_bytes, max_dbs=len(TABLES), max_readers=READER_SLOTS,
                max_spare_txns=4, readonly=self.readonly, create=False, readahead=False, mode=0o644,
                lib_version=_ENGINE,
            )  # fmt: skip
        try:
            with self._our_errors():
                self._open_tables(opened)
        except BaseException:
            opened.close()
            raise
        self._lmdb: Any = opened  # or _Closed
        self._last_commit = LastCommit(self.path)
        if not self.readonly:
            self._fill_up()

    def _open_tables(self, opened: Any) -> None:
        opened.reader_check()  # frees the slots of processes that died
        if not self.readonly:
            with opened.begin(write=True):  # nobody commits while the trees are walked
                check_structure(self.path)
        else:
            check_at_rest(self.path)
        self.tables = {name: opened.open_db(name, create=False) for name in TABLES}

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """A transaction that sees the last commit as long as it lives, whoever commits meanwhile."""
        self.check_process()
        with self._our_errors():
            transaction = self._begin(write=False)
            try:
                with transaction:
                    yield transaction
            finally:
                self._inside.pop()

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """A transaction that is committed and fsynced at the end of the block, or leaves nothing.

        Waits for other processes' turns to end. Raises StorageFull or StorageFailed.
        """
        self.check_process()
        with self._our_errors():
            transaction = self._begin(write=True)
            try:
                with transaction:
                    self.settle()  # now: it may have been opened anew
                    number = transaction.id()
                    yield transaction
                self._fill_up()
                with suppress(OSError):
                    # The last commit may be another process's, and still on its way to the disk.
                    write_head(self.directory / HEAD_FILE, min(number, self._lmdb.info()["last_txnid"]))
            finally:
                self._inside.pop()

    def append(self, contents: Sequence[memoryview]) -> list[Place]:
        """Writes contents beside LMDB's file, to be synced; raises StorageFull or StorageFailed."""
        self.check_process()
        if self.readonly:
            raise StorageFailed(self.path, "it was opened to be read only")
        with self._our_errors(self.values.folder):
            return self.values.append(contents)

    def sync(self, places: Iterable[Place]) -> None:
        """Returns when what was appended there is on disk; raises StorageFull or StorageFailed."""
        with self._our_errors(self.values.folder):
            self.values.sync(places)

    def settle(self) -> None:
        """Before anything is acknowledged that was found here: whoever wrote it may have been killed before it was on
        disk, or heard from the disk that it is not. Raises StorageFailed.
        """
        if not self._settled:
            with self._our_errors():
                with self.path.open("rb") as file:
                    os.fsync(file.fileno())
                for folder in (self.directory, self.directory.parent):
                    sync_directory(folder)
            self._settled = True

    def last_commit(self) -> int:
        """The number of the last commit, of whatever process, also while it is written and not read by anybody yet: a
        twentieth of the cost of a transaction that reads.
        """
        self.check_process()
        return self._last_commit()

    def doubts(self) -> Callable[[int], bool]:
        """Asked for before a commit. It says of one that failed, by its number, whether it may be there all the same:
        it is found, or LMDB could not write a meta page, and refuses everybody until it is opened anew.
        """
        openings = self._openings
        return lambda number: _refuses(self._lmdb) or self._openings != openings or self.last_commit() >= number

    def oldest_read(self) -> int:
        """The oldest commit that is still read, by whatever process; the last one where nobody reads."""
        self._lmdb.reader_check()
        readers = [row.split() for row in self._lmdb.readers().splitlines()]  # process, thread, commit or `-`
        commits = [int(row[2]) for row in readers if len(row) == 3 and row[2].isdecimal()]
        return min(commits, default=self._lmdb.info()["last_txnid"])

    def keep_reserve(self, transaction: Transaction, added_bytes: int, taken_bytes: int) -> None:
        """Raises lmdb.MapFullError where a transaction that added so much to LMDB's file, and lets value files hold
        `taken_bytes`, leaves less than the reserve.
        """
        stored_bytes = sum(_table_bytes(transaction.stat(table)) for table in self.tables.values())
        if stored_bytes + taken_bytes + RESERVE_BYTES > self._lmdb.info()["map_size"]:
            raise lmdb.MapFullError("value files")
        used_bytes = (self._lmdb.info()["last_pgno"] + 1) * self._lmdb.stat()["psize"]
        if used_bytes + 2 * (added_bytes + RESERVE_BYTES) > self._lmdb.info()["map_size"]:
            # LMDB doesn't say what is free within the file: taking it, and not keeping it, does.
            with self._lmdb.begin(parent=transaction, write=True) as probe:
                probe.put(_PROBE_KEY, bytes(RESERVE_BYTES), db=self.tables[META])
                probe.abort()

    def close(self) -> None:
        if not self.is_forked():
            self._lmdb.close()
            self.values.close()

    def _begin(self, *, write: bool) -> Transaction:
        """Whoever calls it takes itself out of `_inside` when it is done with the transaction."""
        while True:
            self._inside.append(None)  # before LMDB is looked at, so that nobody closes it from here on
            try:
                return self._lmdb.begin(write=write)
            except lmdb.PanicError:
                self._inside.pop()
                self._open_anew()
            except BaseException:
                self._inside.pop()
                raise

    def _open_anew(self) -> None:
        """Once all who are inside have left. Raises StorageFailed where they don't, or the file cannot be opened."""
        with self._opening:
            refusing = self._lmdb
            if not _refuses(refusing):
                return  # another thread was faster
            self._lmdb = _Closed()
            deadline = time.monotonic() + _LEAVE_S
            while self._inside:
                if time.monotonic() > deadline:
                    self._lmdb = refusing
                    raise StorageFailed(self.path, "a meta page could not be written, and transactions don't end")
                time.sleep(0.001)
            refusing.close()
            self._open()  # where this fails, the next one tries again

    def _fill_up(self) -> None:
        """Makes the file as long as its meta page says: a page that was freed before it was ever written may be its
        last. In a file that is short `data_file` must take a page that nobody refers to for damage.
        """
        wanted = (self._lmdb.info()["last_pgno"] + 1) * self._lmdb.stat()["psize"]
        with suppress(OSError):
            missing = wanted - self.path.stat().st_size
            if missing > 0:
                with self.path.open("r+b") as file:
                    # Never shortens, whoever writes meanwhile.
                    os.posix_fallocate(file.fileno(), wanted - missing, missing)
                    os.fdatasync(file.fileno())

    def is_forked(self) -> bool:
        """Whether this is a child of the process that opened it."""
        return os.getpid() != self._process

    def check_process(self) -> None:
        """Raises RuntimeError in a forked child."""
        if self.is_forked():
            raise RuntimeError(f"live store {self.directory} was opened before a fork; open it again in the child")

    @contextmanager
    def _our_errors(self, path: Path | None = None) -> Iterator[None]:
        try:
            yield
        except (lmdb.Error, OSError) as error:
            raise _translated(path or self.path, error) from error


class _Closed:
    """Stands for LMDB until its file is open again."""

    def begin(self, **_: object) -> NoReturn:
        raise lmdb.PanicError("the file is to be opened anew")

    def info(self) -> dict[str, int]:
        return {"last_txnid": -1}

    def close(self) -> None:
        """Nothing is open."""


def _table_bytes(stat: Mapping[str, int]) -> int:
    return stat["psize"] * (stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"])


def _refuses(environment: Any) -> bool:
    """Whether LMDB lets nobody in, as it could not write a meta page."""
    try:
        environment.begin().abort()
    except lmdb.PanicError:
        return True
    return False


def create_environment(directory: Path, map_bytes: int, fill: Mapping[bytes, Mapping[bytes, memoryview]]) -> None:
    """Makes a new store appear at once and whole, its tables filled with `fill`; does nothing where there is one.

    Written beside its place and linked into it: a crash leaves nothing that could be taken for a store, and of two
    processes that create it at one time one wins.
    """
    try:
        make_directory(directory)
        if (directory / DATA_FILE).exists():
            return
        with tempfile.TemporaryDirectory(prefix=".creating-", dir=directory) as beside:
            with lmdb.open(beside, map_size=map_bytes, max_dbs=len(TABLES), mode=0o644, lib_version=_ENGINE) as new:
                tables = {name: new.open_db(name) for name in TABLES}
                with new.begin(write=True) as transaction:
                    for name, records in fill.items():
                        for key, value in records.items():
                            transaction.put(key, value, db=tables[name])
                new.sync(True)
            with suppress(FileExistsError):
                (directory / DATA_FILE).hardlink_to(Path(beside) / DATA_FILE)
        sync_directory(directory)
    except (lmdb.Error, OSError) as error:
        raise _translated(directory / DATA_FILE, error) from error


def _translated(path: Path, error: Exception) -> SegsearchError:
    code = error.errno if isinstance(error, OSError) else getattr(error, "code", 0)
    if isinstance(error, lmdb.MapFullError):
        return StorageFull(path, "it has grown to its limit, map_bytes; wanted room for one more change")
    if code in NO_ROOM or (code == errno.EIO and _is_full(path)):
        code = code if code in NO_ROOM else errno.ENOSPC
        return StorageFull(path, f"{os.strerror(code)}; wanted room for one more change")
    if isinstance(error, lmdb.MapResizedError):
        return StorageFailed(path, "another process lets it grow further than this one; wanted the same map_bytes")
    if isinstance(error, _DAMAGED):
        return LiveStoreCorrupt(path, "the trees", str(error))
    return StorageFailed(path, str(error))


def _is_full(path: Path) -> bool:
    """Whether hardly anything can be added to the file: LMDB calls a write that ended early for it an input/output
    error.
    """
    there = next(place for place in (path, *path.parents) if place.exists())
    status = os.statvfs(there)
    limit, size = resource.getrlimit(resource.RLIMIT_FSIZE)[0], there.stat().st_size
    limited = limit != resource.RLIM_INFINITY and limit - size < RESERVE_BYTES
    return limited or status.f_bavail * status.f_frsize < RESERVE_BYTES
