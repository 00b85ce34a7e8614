"""Buckets of keys that several processes spend from: a limit holds for all of them together.

They stand in an LMDB file that none of them waits for to be on disk. A process that is killed while it holds them
leaves them as they were, and free.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import lmdb

from segsearch.service.security.rate_limit import Bucket, Held

_MAP_BYTES: Final = 64 << 20  # room for half a million keys; takes what is used
_BUCKET: Final = struct.Struct("=dd")


class SharedBuckets:
    """The buckets in a folder. Any number of threads and processes may share it, for as long as the machine runs."""

    def __init__(self, folder: Path):
        self._lmdb = lmdb.open(str(folder), map_size=_MAP_BYTES, sync=False, metasync=False)

    @contextmanager
    def held(self) -> Iterator[Held]:
        """See Buckets."""
        with self._lmdb.begin(write=True) as transaction:
            yield _Held(transaction)

    def close(self) -> None:
        """Lets go of the file."""
        self._lmdb.close()


class _Held:
    def __init__(self, transaction: Any):
        self._transaction = transaction

    def get(self, key_id: str, /) -> Bucket | None:
        packed = self._transaction.get(key_id.encode())
        return Bucket(*_BUCKET.unpack(packed)) if packed is not None else None

    def __setitem__(self, key_id: str, bucket: Bucket, /) -> None:
        self._transaction.put(key_id.encode(), _BUCKET.pack(*bucket))
