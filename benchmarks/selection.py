"""Claim: selecting each class's best 100,000 of a library costs little more than reading its score codes.

A memory-mapped, warm score matrix is selected by the compiled loops, class after class as (C, N) and segment after
segment as (N, C); the yardstick is one pass in the same run that only reads it. Beside it: hot blocks of 256 segments
as scoring gives them, the plain twin, and what the process holds above its output at the worst moment.

    python benchmarks/selection.py [--segments 2062258] [--classes 1000] [--keep 100000] [--rounds 5] [--json PATH]

The full size needs 4.1 GB of disk and as much memory for the file's pages; --segments and --classes run a fraction.
"""

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from report import Measure, arguments, cpu_times, report
from whole_job.extrapolation import POSTING_BYTES

from segsearch.service.index.kernel_selection import KernelSelection, Selector
from segsearch.service.index.selection import Selection, select_plain

BLOCK_SEGMENTS = 256
CHECKED_CLASSES = 3


def matrix(folder: Path, shape: tuple[int, int], *, by_class: bool) -> np.ndarray:
    """A mapped matrix of logits around -8 with a deviation of 2, as a trained model gives them for rare classes."""
    segments, classes = shape
    path = folder / ("classes.npy" if by_class else "segments.npy")
    codes = np.lib.format.open_memmap(path, "w+", np.uint16, (classes, segments) if by_class else shape)
    random = np.random.default_rng(0)
    for first in range(0, segments, 1 << 16):
        count = min(1 << 16, segments - first)
        block = random.normal(24_576, 2_048, (1, count)).astype(np.uint16)
        # One draw for all classes, turned: as likely as any, and a thousand times cheaper.
        block = np.stack([np.roll(block[0], 7_919 * row) for row in range(classes)])
        if by_class:
            codes[:, first : first + count] = block
        else:
            codes[first : first + count] = block.T
    codes.flush()
    return np.load(path, mmap_mode="r")


def select(codes: np.ndarray, keep: int, *, by_class: bool, threads: int = 1) -> KernelSelection:
    selection = KernelSelection(len(codes) if by_class else codes.shape[1], keep, threads=threads)
    selection.add_matrix(codes.T if by_class else codes)
    drain(selection)
    return selection


def drain(selection: Selector) -> int:
    return sum(len(ordinals) for ordinals, _ in selection.ranked())


def stream(selection: Selector, codes: np.ndarray) -> None:
    """Hot blocks: a few of them, again and again, until there were as many segments as in the matrix."""
    blocks = [np.array(codes[:, first : first + BLOCK_SEGMENTS]) for first in range(0, 4_096, BLOCK_SEGMENTS)]
    for number in range(codes.shape[1] // BLOCK_SEGMENTS):
        selection.add_by_class(blocks[number % len(blocks)])
    drain(selection)


def check(codes: np.ndarray, keep: int) -> None:
    """The lists are right: a few classes against a stable sort."""
    part = np.array(codes[:CHECKED_CLASSES])
    selection = KernelSelection(len(part), keep)
    selection.add_matrix(part.T)
    for found, wanted in zip(selection.ranked(), select_plain(part.T, keep), strict=True):
        np.testing.assert_array_equal(np.stack(found), np.stack(wanted))


@contextmanager
def peak_memory(before: int) -> Iterator[list[float]]:
    """What this process holds at most while the block runs, in MB above `before`; mapped files left out."""
    peak, stop = [0.0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.005):
            peak[0] = max(peak[0], (held_bytes() - before) / 1e6)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield peak
    finally:
        stop.set()
        watching.join()


def held_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def wall(codes: np.ndarray, keep: int, threads: int) -> float:
    started = time.perf_counter()
    select(codes, keep, by_class=True, threads=threads)
    return time.perf_counter() - started


def measure(options, folder: Path) -> list[Measure]:
    shape, keep = (options.segments, options.classes), options.keep
    amount, output_mb = (
        options.segments * options.classes,
        min(keep, options.segments) * options.classes * POSTING_BYTES / 1e6,
    )
    tiny = np.zeros((2, 300), np.uint16)
    select(tiny, 10, by_class=True)  # compiles
    select(tiny, 10, by_class=False)
    before = held_bytes()
    codes = matrix(folder, shape, by_class=True)
    with peak_memory(before) as peak:
        select(codes, keep, by_class=True)
    check(codes, keep)
    by_class, reading = cpu_times(
        lambda: select(codes, keep, by_class=True), lambda: codes.max(), rounds=options.rounds
    )
    one, two = (wall(codes, keep, threads) for threads in (1, 2))
    kernels, plain = cpu_times(
        lambda: stream(KernelSelection(options.classes, keep), codes),
        lambda: stream(Selection(options.classes, keep), codes),
        rounds=1,
    )
    (folder / "classes.npy").unlink()
    codes = matrix(folder, shape, by_class=False)
    by_segment, reading_again = cpu_times(
        lambda: select(codes, keep, by_class=False), lambda: codes.max(), rounds=options.rounds
    )
    return [
        Measure("matrix (C, N): selection / one read pass, CPU time", by_class / reading, at_most=15),
        Measure("matrix (N, C): selection / one read pass, CPU time", by_segment / reading_again, at_most=15),
        Measure("peak memory above the output", peak[0] - output_mb, "MB", at_most=500),
        Measure("matrix (C, N): two threads / one, wall", two / one),
        Measure("hot blocks: compiled loops / numpy, CPU time", kernels / plain),
        Measure("hot blocks: numpy / one read pass, CPU time", plain / reading),
        Measure("matrix (C, N)", by_class / amount * 1e9, "ns CPU a code"),
        Measure("matrix (N, C)", by_segment / amount * 1e9, "ns CPU a code"),
        Measure("hot blocks", kernels / amount * 1e9, "ns CPU a code"),
        Measure("one read pass", reading / amount * 1e9, "ns CPU a code"),
    ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--segments", type=int, default=2_062_258)
    parser.add_argument("--classes", type=int, default=1_000)
    parser.add_argument("--keep", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measures = measure(options, Path(folder))
    title = f"Best {options.keep:,} of {options.segments:,} segments in {options.classes:,} classes"
    report(title, measures, options.json)


if __name__ == "__main__":
    main()
