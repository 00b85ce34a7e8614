"""What each stage could cost at least on this machine, measured in the same run.

Where it stands: `headline` divides a stage's time by its limit. Reading cannot be faster than the disk, scoring not
faster than ONNX Runtime's own product of 8-bit integers, selecting not faster than one pass over the codes (`job`
measures that one beside selecting), publishing and the CSV not faster than writing their bytes for good.
"""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from whole_job.job import forget
from whole_job.library import YOUTUBE8M, Size

_CHUNK = 1 << 22
_ROWS = 64 * 5  # frames of a batch


@dataclass(frozen=True, slots=True)
class Limits:
    """Rates by which stages are judged."""

    disk_read_s: float  # of the job's shards, by the clock, none of them in memory
    memory_read_s: float  # the same shards, in memory
    float_rate: float  # operations a CPU second
    integer_rate: float
    publish_s: float  # writing the index's bytes for good, by the clock
    csv_s: float


def limits(files: Iterable[Path], size: Size, index_bytes: int, csv_bytes: int, folder: Path) -> Limits:
    """folder: on the disk that the job wrote to."""
    files = list(files)
    forget(files)
    disk, memory = (_reading(files) for _ in range(2))
    float_rate, integer_rate = _products(size)
    return Limits(disk, memory, float_rate, integer_rate, _writing(folder, index_bytes), _writing(folder, csv_bytes))


def _reading(files: list[Path]) -> float:
    buffer, started = bytearray(_CHUNK), time.perf_counter()
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return time.perf_counter() - started


def _writing(folder: Path, size: int) -> float:
    path, chunk = folder / "written.bin", os.urandom(_CHUNK)
    started = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for at in range(0, size, _CHUNK):
            file.write(chunk[: size - at])
        os.fsync(file.fileno())
    seconds = time.perf_counter() - started
    path.unlink()
    return seconds


def _products(size: Size) -> tuple[float, float]:
    """Operations a CPU second of the first layer's product, in floats and in 8-bit integers."""
    from scoring import cpu_times, products

    runs, operations = products(_ROWS, YOUTUBE8M.size, size.clusters)
    times = cpu_times(runs, rounds=5)
    return operations / times["product"], operations / times["integer product"]
