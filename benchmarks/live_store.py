"""Claim: a durable upload costs little more than writing its bytes to a file and waiting for the disk.

One upload is a video of 60 segments: 300 frames of 1,152 codes, and 60 x 1,000 score codes. The yardstick writes the
same bytes behind each other into a file, with one fdatasync each, one after the other; both sides take turns in one
run. Beside it: as many threads that write and sync as upload; processor time of both sides, and pages that the kernel
mapped for uploads, which other work on the machine moves less; and what it costs a reader to follow one more upload
when 60,000 segments are live already.

    python benchmarks/live_store.py [--uploads 96] [--rounds 5] [--live-segments 60000] [--folder DIR] [--json PATH]

The figures are the disk's: `--folder` says which one.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from statistics import median

import numpy as np
from report import Measure, arguments, report

from segsearch.service.index.live.delta import LiveDelta
from segsearch.service.index.live.store import LiveStore

FRAMES, FRAME_CODES, SEGMENTS, CLASSES = 300, 1_152, 60, 1_000
SPACE, BUNDLE = "benchmark", "b" * 64
LEAST = {1: 0.25, 16: 1.0}  # threads that upload: share of what bare writes reach
FOLLOWED = 30


def frames_of(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (FRAMES, FRAME_CODES), np.uint8)


def codes_of(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 1 << 16, (SEGMENTS, CLASSES), np.uint16)


def per_second(work: Callable[[int], object], numbers: range, threads: int) -> float:
    with ThreadPoolExecutor(threads) as pool:
        started = time.perf_counter()
        list(pool.map(work, numbers))
        return len(numbers) / (time.perf_counter() - started)


@dataclass
class Spent:
    """What this process had of the machine while it worked, all its threads."""

    cpu_s: float = 0.0
    pages: int = 0

    @contextmanager
    def counting(self) -> Iterator[None]:
        before = getrusage(RUSAGE_SELF)
        yield
        after = getrusage(RUSAGE_SELF)
        self.cpu_s += after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self.pages += after.ru_minflt - before.ru_minflt


def uploads(store: LiveStore, folder: Path, threads: int, count: int, rounds: int) -> list[Measure]:
    """Uploads beside bare writes; with several threads, beside theirs, too."""
    frames = [frames_of(number) for number in range(count)]
    codes = [codes_of(number) for number in range(count)]
    content = [frames[number].tobytes() + codes[number].tobytes() for number in range(count)]
    bare = os.open(folder / f"bare-{threads}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(number: int) -> None:
        os.write(bare, content[number])
        os.fdatasync(bare)

    speeds: list[tuple[float, ...]] = []
    ours, bares = Spent(), Spent()
    commits = -store.counters().revision
    for round_number in range(rounds):

        def put(number: int, name: str = f"{threads}-{round_number}") -> None:
            store.put(f"{name}-{number}", frames[number], {BUNDLE: codes[number]})

        numbers = range(count)
        with ours.counting():
            speeds.append((per_second(put, numbers, threads),))
        with bares.counting():
            speeds[-1] += (per_second(write, numbers, 1),)
        if threads > 1:
            speeds[-1] += (per_second(write, numbers, threads),)
    commits += store.counters().revision
    os.close(bare)
    (folder / f"bare-{threads}").unlink()
    put_speed, bare_speed, *together = (median(side) for side in zip(*speeds, strict=True))
    name, written = "single" if threads == 1 else f"{threads} concurrent", count * rounds
    return [
        Measure(f"durable uploads, {name} / bare write + fdatasync", put_speed / bare_speed, at_least=LEAST[threads]),
        Measure(f"durable uploads, {name}", put_speed, "a second"),
        Measure("bare write + fdatasync", bare_speed, "a second"),
        *(Measure(f"bare write + fdatasync, {name}", speed, "a second") for speed in together),
        Measure(f"commits an upload, {name}", commits / written),
        Measure(f"processor time of an upload, {name}", ours.cpu_s / written * 1e3, "ms"),
        Measure(f"processor time of uploads, {name} / bare write + fdatasync", ours.cpu_s / bares.cpu_s),
        Measure(f"pages mapped for an upload, {name}", ours.pages / written),
    ]


def following(folder: Path, live_segments: int) -> list[Measure]:
    """One more upload, and then `current`; beside it, where there was none."""
    with LiveStore.open(folder / "followed", SPACE) as store:
        small = np.zeros((FRAMES, 1), np.uint8)  # frames are not followed
        for number in range(live_segments // SEGMENTS):
            store.put(f"v{number}", small, {BUNDLE: codes_of(number)})
        follower = LiveDelta(store, BUNDLE, class_count=CLASSES)
        started = time.perf_counter()
        follower.current()
        first_s = time.perf_counter() - started
        after_upload, idle = [], []
        for number in range(FOLLOWED):
            store.put(f"more-{number}", small, {BUNDLE: codes_of(number)})
            for spent in (after_upload, idle):
                started = time.perf_counter()
                follower.current()
                spent.append(time.perf_counter() - started)
    return [
        Measure(f"`current` after one more upload, {live_segments:,} segments live", median(after_upload) * 1e3, "ms"),
        Measure("the longest of them (the arrays double)", max(after_upload) * 1e3, "ms"),
        Measure("`current` where nothing was committed", median(idle) * 1e6, "us"),
        Measure("`current` from nothing", first_s, "s"),
    ]


def measure(options, folder: Path) -> list[Measure]:
    measures = []
    with LiveStore.open(folder / "uploads", SPACE) as store:
        for threads in LEAST:
            measures += uploads(store, folder, threads, options.uploads, options.rounds)
    return measures + following(folder, options.live_segments)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--uploads", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--live-segments", type=int, default=60_000)
    parser.add_argument("--folder", type=Path, help="a directory on the disk to measure; default: the temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        measures = measure(options, Path(folder))
    report("Live store", measures, options.json)


if __name__ == "__main__":
    main()
