"""Claim: a search costs microseconds, from mapped lists or from a live library.

One generation of random lists, searched in process with video ids and start frames in the answer: cold and warm, alone
and with live segments and tombstones over it. Queries take turns, and what counts is the CPU time of the thread, so
that other work on the machine meets all alike. What databases take for the same is in `peers.py`.

    python benchmarks/index.py [--classes 20] [--keep 100000] [--segments 1000000] [--live 60000] [--json PATH]
"""

import os
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from random_library import VIDEO_SEGMENTS, Search, search_of, searching, write_index
from report import Measure, arguments, report

from segsearch.core.vocabulary import ClassOrdinal
from segsearch.service.index.generation import Generation
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.live.columns import Columns
from segsearch.service.index.live.delta import Delta
from segsearch.service.index.view import View
from segsearch.service.page_making import page_found
from segsearch.service.page_memory import Asked

TOMBSTONE_SHARE = 0.01
QUERIES = {100: 300, 10_000: 60}  # by k
OPENED_CLASSES, OPENED_SEGMENTS = 1_000, 1_000_000


def with_live(generation: Generation, count: int) -> View:
    """The generation under so many live segments, with some of its videos gone."""
    random = np.random.default_rng(1)
    classes, videos = len(generation.vocabulary), -(-count // VIDEO_SEGMENTS)
    columns = Columns(classes)
    for video in range(videos):
        segments = min(VIDEO_SEGMENTS, count - columns.count)
        columns.append(video, video + 1, random.normal(24_000, 2_000, (segments, classes)).astype(np.uint16))
    total = generation.manifest.video_count
    gone = random.choice(total, int(total * TOMBSTONE_SHARE), replace=False)
    ids = [f"live{number:06d}" for number in range(videos)]
    changed = frozenset([*ids, *generation.video_ids(gone)])
    delta = Delta(
        videos, columns.codes, np.ones(count, bool), columns.videos, columns.starts, columns.uploads, ids, changed,
        tops=columns.tops,
    )  # fmt: skip
    return View.of(generation, delta)


def finding(view: View) -> Search:
    """Searches as for a tag of which nothing was found before, as after an upload among its best."""
    names = [entry.name for entry in view.vocabulary.entries]
    return lambda tag, k: page_found(view, Asked(names[tag], k, 0.0, None, None))


def in_turn(searches: Sequence[Search], tags: Sequence[int], k: int) -> list[np.ndarray]:
    """Seconds of each query, for each search; each tag is asked of all before the next."""
    seconds = np.empty((len(searches), len(tags)))
    for column, tag in enumerate(tags):
        for row, search in enumerate(searches):
            started = time.thread_time()
            search(tag, k)
            seconds[row, column] = time.thread_time() - started
    return list(seconds)


def opening(root: Path, rounds: int = 9) -> list[Measure]:
    """To open a generation of 1,000 full lists, and its first query, for which a library that serves has found heads
    before: where the system has the files at hand, as after the verification that comes before serving, and where
    everything comes from the disk. Generations before had the same vocabulary, as a library's have.
    """
    write_index(root, OPENED_CLASSES, OPENED_SEGMENTS, lists=8)
    folder, measures = root / "1", []
    for where, at_hand in (("files at hand", True), ("files on disk", False)):
        for file in folder.iterdir() if at_hand else ():
            file.read_bytes()
        times = np.array([_opened(folder, ClassOrdinal(number), at_hand) for number in range(rounds)])  # (rounds, 4)
        open_s, open_cpu_s, first_s, first_cpu_s = np.median(times, axis=0).tolist()
        measures += [
            Measure(f"open a generation, {where}, CPU time", open_cpu_s * 1e3, "ms", at_most=5 if at_hand else None),
            Measure(f"open a generation, {where}", open_s * 1e3, "ms"),
            Measure(f"its first query, {where}, CPU time", first_cpu_s * 1e3, "ms", at_most=1 if at_hand else None),
            Measure(f"its first query, {where}", first_s * 1e3, "ms"),
        ]
    return measures


def _opened(folder: Path, ordinal: ClassOrdinal, at_hand: bool) -> tuple[float, float, float, float]:
    """Seconds by the clock and of CPU time; nothing is mapped any more that an earlier round had."""
    for file in folder.iterdir() if not at_hand else ():
        with file.open("rb") as content:
            os.posix_fadvise(content.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    started, cpu_s = time.perf_counter(), time.thread_time()
    generation = Generation.open(folder)
    opened = time.perf_counter() - started, time.thread_time() - cpu_s
    view = View.of(generation, Delta.empty(OPENED_CLASSES))
    started, cpu_s = time.perf_counter(), time.thread_time()
    view.segments(view.best(ordinal, 100).places)
    return *opened, time.perf_counter() - started, time.thread_time() - cpu_s


def beside_live(root: Path, options: Namespace) -> list[Measure]:
    """A search alone, and with live segments: the same in turn, for the first time, again, and found anew."""
    base = IndexDirectory(root).open_current()
    views = [View.of(base, Delta.empty(options.classes)), with_live(base, options.live)]
    for view in views:
        view.find_heads()  # as a library does before a generation takes traffic
    ways = {
        "first": [search_of(searching(root, remembers=False), view) for view in views],
        "again": [search_of(searching(root, remembers=True), view) for view in views],
        "anew": [finding(view) for view in views],
    }
    random, measures = np.random.default_rng(2), []
    for k, asked in QUERIES.items():
        tags = random.integers(options.classes, size=asked).tolist()
        for ours, searches in ways.items():
            in_turn(searches, tags, k)
            alone, live = in_turn(searches, tags, k)
            for name, share in (("median", 50), ("99th percentile", 99)):
                one, two = (float(np.percentile(times, share)) for times in (alone, live))
                measures += [
                    Measure(f"k = {k:,}, {ours}, {name}", one * 1e6, "µs"),
                    Measure(
                        f"k = {k:,}, {ours}, {name}, with live segments / without",
                        two / one,
                        at_most=None if ours == "anew" else 3,
                    ),
                ]
    return measures


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--keep", type=int, default=100_000)
    parser.add_argument("--segments", type=int, default=1_000_000)
    parser.add_argument("--live", type=int, default=60_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        write_index(root, options.classes, options.segments, options.keep)
        measures = opening(root / "opened") + beside_live(root, options)
    report(f"search in process, {options.live:,} live segments", measures, options.json)


if __name__ == "__main__":
    main()
