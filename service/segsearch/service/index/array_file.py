"""One `.npy` file, both ways: written in pieces of unknown number, and memory-mapped.

Any numpy reads these files; what this adds is appending, and a mapping that checks before it trusts.
"""

import math
import mmap
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy

from segsearch.service.npy_header import read_npy_header

_AHEAD_BYTES: Final = 64 << 20


class ArrayWriter:
    """Appends pieces to a new `.npy` file; the header gets its length on closing."""

    def __init__(self, path: Path, dtype: np.dtype, row: tuple[int, ...] = ()):
        """row: shape of what the first axis counts."""
        self.dtype, self.length, self._row = dtype, 0, row
        self._file = path.open("wb")
        self._header_bytes = self._write_header()

    def __enter__(self) -> "ArrayWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._file.seek(0)
                # numpy leaves room for a first axis that grows, so the header keeps its size.
                if self._write_header() != self._header_bytes:
                    raise AssertionError("the .npy header changed its size")
        finally:
            self._file.close()

    def append(self, values: np.ndarray) -> None:
        """values: (n, *row) of a dtype that fits without loss."""
        self._file.write(np.ascontiguousarray(values.astype(self.dtype, copy=False)).data)
        self.length += len(values)

    def _write_header(self) -> int:
        header = {"descr": npy.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self.length, *self._row)}
        npy.write_array_header_1_0(self._file, header)
        return self._file.tell()


def map_array(path: Path, dtype: np.dtype, shape: tuple[int, ...], *, ahead: bool = False) -> np.ndarray:
    """A read-only view on the file's pages; ValueError says how the file differs from what was asked.

    ahead: the disk brings all of a file that is not too large, without anybody waiting for it, as queries will read
    here and there in it. The mapping lives as long as someone holds the array, even if the file is removed.
    """
    with path.open("rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    header = read_npy_header(memoryview(pages))
    if (header.descr, header.fortran_order, header.shape) != (dtype.str, False, shape):
        raise ValueError(f"holds {header.descr}{header.shape}, wanted {dtype.str}{shape}")
    if len(pages) != header.data_start + math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{len(pages)} bytes, wanted {header.data_start + math.prod(shape) * dtype.itemsize}")
    if hasattr(mmap, "MADV_RANDOM"):
        # A query reads a few pages out of gigabytes: reading on from each would make the first one wait.
        pages.madvise(mmap.MADV_WILLNEED if ahead and len(pages) <= _AHEAD_BYTES else mmap.MADV_RANDOM)
    array: np.ndarray[Any, Any] = np.frombuffer(pages, dtype, math.prod(shape), header.data_start)
    return array.reshape(shape)
