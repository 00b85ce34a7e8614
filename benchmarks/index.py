"""Claim: a search costs microseconds, from mapped lists or from a live library.

One generation of random lists, searched in process with video ids and start frames in the answer: cold and warm, alone
and with live segments and tombstones over it. Queries take turns, and what counts is the CPU time of the thread, so
that other work on the machine meets all alike. What databases take for the same is in `peers.py`.

    python benchmarks/index.py [--classes 20] [--keep 100000] [--segments 1000000] [--live 60000] [--json PATH]
"""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from random_library import VIDEO_SEGMENTS, write_generation
from report import Measure, arguments, report

from segsearch.core.vocabulary import ClassOrdinal
from segsearch.service.index.generation import Generation
from segsearch.service.index.live.delta import Delta
from segsearch.service.index.view import View

TOMBSTONE_SHARE = 0.01
QUERIES = 300

Search = Callable[[int, int], object]


def with_live(generation: Generation, count: int) -> View:
    """The generation under so many live segments, with some of its videos gone."""
    random = np.random.default_rng(1)
    classes, videos = len(generation.vocabulary), -(-count // VIDEO_SEGMENTS)
    codes = random.normal(24_000, 2_000, (classes, count)).astype(np.uint16)
    places = np.arange(count, dtype=np.uint32)
    total = generation.manifest.video_count
    gone = random.choice(total, int(total * TOMBSTONE_SHARE), replace=False)
    ids = [f"live{number:06d}" for number in range(videos)]
    changed = frozenset([*ids, *generation.video_ids(gone)])
    own = places // VIDEO_SEGMENTS
    uploads, starts = own.astype(np.uint64) + 1, places % VIDEO_SEGMENTS * 5
    delta = Delta(videos, codes, np.ones(count, bool), own, starts, uploads, ids, changed)
    return View.of(generation, delta)


def search_of(view: View) -> Search:
    def search(tag: int, k: int) -> object:
        found = view.best(ClassOrdinal(tag), k)
        return view.segments(found.places), found.codes

    return search


def in_turn(searches: Sequence[Search], tags: Sequence[int], k: int) -> list[np.ndarray]:
    """Seconds of each query, for each search; each tag is asked of all before the next."""
    seconds = np.empty((len(searches), len(tags)))
    for column, tag in enumerate(tags):
        for row, search in enumerate(searches):
            started = time.thread_time()
            search(tag, k)
            seconds[row, column] = time.thread_time() - started
    return list(seconds)


def opening(folder: Path, rounds: int = 9) -> tuple[float, float]:
    """Median seconds to open a generation whose pages are not in memory, and of its first query."""
    opened, first = [], []
    for number in range(rounds):
        for file in folder.iterdir():
            with file.open("rb") as content:
                os.posix_fadvise(content.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        started = time.thread_time()
        generation = Generation.open(folder)
        opened.append(time.thread_time() - started)
        view = View.of(generation, Delta.empty(generation.manifest.class_count))
        started = time.thread_time()
        search_of(view)(number % generation.manifest.class_count, 100)
        first.append(time.thread_time() - started)
    return float(np.median(opened)), float(np.median(first))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--keep", type=int, default=100_000)
    parser.add_argument("--segments", type=int, default=1_000_000)
    parser.add_argument("--live", type=int, default=60_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "1"
        folder.mkdir()
        write_generation(folder, options.classes, options.segments, options.keep)
        opened, cold = opening(folder)
        generation = Generation.open(folder)
        base = search_of(View.of(generation, Delta.empty(options.classes)))
        searches = [base, search_of(with_live(generation, options.live))]
        tags = np.random.default_rng(2).integers(options.classes, size=QUERIES).tolist()
        measures = [
            Measure("open a generation", opened * 1e3, "ms", at_most=5),
            Measure("first query of a cold generation", cold * 1e3, "ms", at_most=1),
        ]
        for k, queries in ((100, tags), (10_000, tags[:60])):
            in_turn(searches, queries[:20], k)
            alone, live = in_turn(searches, queries, k)
            for name, share in (("median", 50), ("99th percentile", 99)):
                one, two = (float(np.percentile(times, share)) for times in (alone, live))
                measures += [
                    Measure(f"k = {k:,}, {name}", one * 1e6, "µs"),
                    Measure(
                        f"k = {k:,}, {name}, with {options.live:,} live segments / without", two / one, "x", at_most=3
                    ),
                ]
    report("search in process", measures, options.json)


if __name__ == "__main__":
    main()
