"""Claim: a durable upload costs little more than writing its bytes to a file and waiting for the disk.

One upload is a video of 60 segments: 300 frames of 1,152 codes, and 60 x 1,000 score codes. The yardstick writes the
same bytes behind each other into a file, with one fdatasync each, one after the other; both sides take turns in one
run. Beside it: as many threads that write and sync as upload, and what it costs a reader to follow one more upload when
60,000 segments are live already.

    python benchmarks/live_store.py [--uploads 48] [--rounds 5] [--live-segments 60000] [--folder DIR] [--json PATH]

The figures are the disk's: `--folder` says which one.
"""

import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
from report import Measure, arguments, report

from segsearch.service.index.live.delta import LiveDelta
from segsearch.service.index.live.store import LiveStore

FRAMES, FRAME_CODES, SEGMENTS, CLASSES = 300, 1_152, 60, 1_000
SPACE, BUNDLE = "benchmark", "b" * 64
THREADS = 16
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


def uploads(store: LiveStore, folder: Path, threads: int, count: int, rounds: int) -> tuple[list[float], float]:
    """Medians of uploads a second, bare writes a second and, with several threads, theirs; and commits an upload."""
    frames = [frames_of(number) for number in range(count)]
    codes = [codes_of(number) for number in range(count)]
    content = [frames[number].tobytes() + codes[number].tobytes() for number in range(count)]
    bare = os.open(folder / f"bare-{threads}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(number: int) -> None:
        os.write(bare, content[number])
        os.fdatasync(bare)

    speeds: list[tuple[float, ...]] = []
    commits = -store.counters().revision
    for round_number in range(rounds):

        def put(number: int, name: str = f"{threads}-{round_number}") -> None:
            store.put(f"{name}-{number}", frames[number], {BUNDLE: codes[number]})

        numbers = range(count)
        speeds.append((per_second(put, numbers, threads), per_second(write, numbers, 1)))
        if threads > 1:
            speeds[-1] += (per_second(write, numbers, threads),)
    commits += store.counters().revision
    os.close(bare)
    (folder / f"bare-{threads}").unlink()
    return [median(side) for side in zip(*speeds, strict=True)], commits / (count * rounds)


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
        for threads, name, least in ((1, "single", 0.25), (THREADS, f"{THREADS} concurrent", 1.0)):
            (put, write, *together), commits = uploads(store, folder, threads, options.uploads, options.rounds)
            measures += [
                Measure(f"durable uploads, {name} / bare write + fdatasync", put / write, at_least=least),
                Measure(f"durable uploads, {name}", put, "a second"),
                Measure("bare write + fdatasync", write, "a second"),
                *(Measure(f"bare write + fdatasync, {name}", speed, "a second") for speed in together),
                Measure(f"commits an upload, {name}", commits),
            ]
    return measures + following(folder, options.live_segments)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--uploads", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--live-segments", type=int, default=60_000)
    parser.add_argument("--folder", type=Path, help="a directory on the disk to measure; default: the temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        measures = measure(options, Path(folder))
    report("Live store", measures, options.json)


if __name__ == "__main__":
    main()
