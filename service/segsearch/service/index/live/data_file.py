"""A look at LMDB's file before it is mapped: what is cut short or no LMDB file at all must not crash the process.

Where it stands: `environment` asks before it opens. LMDB trusts its file: where a page is missing that its newest meta
page promises, reading it kills the process. The layout read here is that of LMDB 0.9 (mdb.c, MDB_meta).
"""

import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lmdb import verify as structure
from xxhash import xxh3_64_intdigest

from segsearch.core.errors import LiveStoreCorrupt

_PAGE_HEADER_BYTES: Final = 16
# magic, version, address, map size, free table (page size first), main table, last page, transaction
_META: Final = struct.Struct("=IIQQI44x48xQQ")
_TRANSACTION_BYTES: Final = _PAGE_HEADER_BYTES + _META.size - 8  # from a page's beginning to its transaction
_MAGIC: Final = 0xBEEFC0DE
_VERSION: Final = 1
_MAP_CAP_BYTES: Final = 1 << 44
_HEAD: Final = struct.Struct("<QQ")  # LMDB's number of a commit, and its xxh3
_TRIES: Final = 3
_PAGE_SIZES: Final = tuple(1 << power for power in range(9, 16))


@dataclass(frozen=True, slots=True)
class Meta:
    """What the newest meta page promises."""

    map_bytes: int
    missing_bytes: int  # at the file's end, of pages that are free or it is damaged
    transaction: int

    @classmethod
    def read(cls, path: Path) -> "Meta":
        """Raises LiveStoreCorrupt where the file is no LMDB file."""
        with path.open("rb") as file:
            first = _parse(path, 0, file.read(_PAGE_HEADER_BYTES + _META.size))
            file.seek(first.page_bytes)
            second = _parse(path, 1, file.read(_PAGE_HEADER_BYTES + _META.size))
            # The file only grows: asked last, its size cannot be older than the meta pages.
            file_bytes = file.seek(0, 2)
        for page in (first, second):
            if page.map_bytes > _MAP_CAP_BYTES or page.map_bytes % first.page_bytes:
                raise LiveStoreCorrupt(path, "the meta pages", f"a limit of {page.map_bytes} bytes")
        newest = max(first, second, key=lambda page: page.transaction)
        if file_bytes < 2 * first.page_bytes:  # LMDB maps and reads these two before anything can be looked at
            raise LiveStoreCorrupt(path, "the file", f"{file_bytes} bytes, wanted at least {2 * first.page_bytes}")
        if (newest.last_page + 1) * first.page_bytes > newest.map_bytes:  # LMDB would call it another process's doing
            found = f"page {newest.last_page} is the last, and the limit {newest.map_bytes} bytes"
            raise LiveStoreCorrupt(path, "the meta pages", found)
        missing_bytes = (newest.last_page + 1) * first.page_bytes - file_bytes
        return cls(newest.map_bytes, max(0, missing_bytes), newest.transaction)


class LastCommit:
    """LMDB's number of a file's last commit, read where LMDB reads it: from the two meta pages, which a commit of any
    process changes in turn. To ask LMDB takes ten times as long.
    """

    def __init__(self, path: Path):
        """path: of a file that `Meta.read` has seen, and that only grows."""
        with path.open("rb") as file:
            page_bytes = _parse(path, 0, file.read(_PAGE_HEADER_BYTES + _META.size)).page_bytes
            pages = mmap.mmap(file.fileno(), 2 * page_bytes, access=mmap.ACCESS_READ)
        self._numbers = memoryview(pages).cast("Q")
        self._places = tuple((first + _TRANSACTION_BYTES) // 8 for first in (0, page_bytes))

    def __call__(self) -> int:
        one, other = self._places
        return max(self._numbers[one], self._numbers[other])


@dataclass(frozen=True, slots=True)
class _MetaPage:
    page_bytes: int
    map_bytes: int
    last_page: int
    transaction: int


def _parse(path: Path, number: int, page: bytes) -> _MetaPage:
    place = f"meta page {number}"
    if len(page) < _PAGE_HEADER_BYTES + _META.size:
        raise LiveStoreCorrupt(path, place, f"cut off after {len(page)} bytes")
    magic, version, _, map_bytes, page_bytes, last_page, transaction = _META.unpack_from(page, _PAGE_HEADER_BYTES)
    if magic != _MAGIC or version != _VERSION or page_bytes not in _PAGE_SIZES:
        facts = f"magic {magic:#x}, version {version}, pages of {page_bytes} bytes"
        raise LiveStoreCorrupt(path, place, f"{facts}; wanted those of LMDB 0.9")
    return _MetaPage(page_bytes, map_bytes, last_page, transaction)


def check_structure(path: Path) -> None:
    """Walks the file's trees without LMDB's help, values left out; raises LiveStoreCorrupt at the first fault.

    Nobody may commit meanwhile. Costs about a second for 4 GB.
    """
    try:
        faults = structure.verify(str(path), subdir=False)  # type: ignore[no-untyped-call]
    except structure.VerifyError as error:
        faults = [str(error)]
    missing_bytes = Meta.read(path).missing_bytes
    if not missing_bytes:
        # A page that nobody refers to is lost room and nothing worse.
        faults = [fault for fault in faults if "a leak" not in fault]
    elif faults:
        # A page that was freed before it was ever written may be the file's last, and not be there; no other may.
        raise LiveStoreCorrupt(path, "the file", f"{missing_bytes} bytes are missing at its end")
    if faults:
        raise LiveStoreCorrupt(path, "the trees", faults[0])


def check_at_rest(path: Path) -> None:
    """Like `check_structure` for one who cannot keep others from committing: what they change meanwhile is looked at
    again, and left to them if they never rest.
    """
    for _ in range(_TRIES):
        before = Meta.read(path)
        try:
            check_structure(path)
        except LiveStoreCorrupt:
            if Meta.read(path) == before:
                raise
        else:
            break


def write_head(path: Path, transaction: int) -> None:
    """Notes the number of a commit that is on disk.

    Neither atomic nor fsynced: it only has to be right after a crash of the process, and a damaged one says nothing.
    """
    content = _head(transaction)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.pwrite(descriptor, content, 0)
    finally:
        os.close(descriptor)


def read_head(path: Path) -> int:
    """The number noted last, as far as is known; 0 where there is none that is whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return 0
    if len(content) != _HEAD.size:
        return 0
    transaction: int = _HEAD.unpack(content)[0]
    return transaction if _head(transaction) == content else 0


def _head(transaction: int) -> bytes:
    return _HEAD.pack(transaction, xxh3_64_intdigest(transaction.to_bytes(8, "little")))
