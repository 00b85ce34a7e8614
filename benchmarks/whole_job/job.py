"""The whole job, measured from within: shards on disk to a published generation and a submission CSV.

Where it stands: `headline` runs `whole_job` in a process of its own and reckons with what comes back. The job is the
product's own `reindex` and `write_submission`; what is measured is measured at their seams: the scorer, which is handed
the videos and hands out blocks of codes, and the selection, which takes these.

Reading, selecting and what lies between scoring and selecting (*pieces*: score codes written down shard by shard and
read again) happen on the thread that else waits for scores, so that by the clock the stages add up to the whole. The
CPU seconds of scoring are what all other threads spent, and what this one spent on laying batches out. With several
worker processes their reading and writing counts as scoring, and waiting for them, by the clock, as pieces.

N segments, C classes, S segments of a block.
"""

import os
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from segsearch.core.bundle import Bundle
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.kernel_selection import KernelSelection, SelectionChoice, Selector
from segsearch.service.jobs import reindex as reindexing
from segsearch.service.jobs.engines import EngineWishes, engine_for
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from segsearch.service.scoring.scorer import Scorer
from segsearch.service.submission import ranked_classes, write_submission

Growth = Literal["nothing", "segments", "postings"]
POINTS = 40  # of the curve of CPU time over segments


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done."""

    bundle: Path
    files: tuple[Path, ...]
    folder: Path  # for the index, the CSV and the scorer's cache
    keep: int
    workers: int = 1  # processes that score; one scores in the process of the job
    threads: int = 0  # of scoring, as `reindex` takes it
    selection: SelectionChoice = "numba"  # what `auto` takes at full size


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the job, and what its time grows with."""

    name: str
    wall_s: float
    cpu_s: float
    grows_with: Growth


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one run did, and what it took."""

    stages: tuple[Stage, ...]
    segments: int
    classes: int
    keep: int  # postings a class, at most
    postings: int
    peak_bytes: int
    disk_read_bytes: int
    disk_written_bytes: int
    shard_bytes: int
    index_bytes: int
    csv_bytes: int
    reading_codes_s: float  # CPU seconds of one pass that only reads the codes that selection took
    curve: tuple[tuple[int, float], ...]  # segments so far, CPU seconds of the stream so far
    tuning: dict[str, int]

    def stage(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)

    @property
    def wall_s(self) -> float:
        return sum(stage.wall_s for stage in self.stages)

    @property
    def cpu_s(self) -> float:
        return sum(stage.cpu_s for stage in self.stages)


@dataclass(slots=True)
class Spent:
    """Seconds by the clock and of the processor; used as `with spent.timing(clock):`."""

    wall_s: float = 0.0
    cpu_s: float = 0.0

    @contextmanager
    def timing(self, clock: Callable[[], float]) -> Iterator[None]:
        """clock: `time.thread_time` beside other threads, `all_cpu` to count them too."""
        wall, cpu = time.perf_counter(), clock()
        try:
            yield
        finally:
            self.wall_s += time.perf_counter() - wall
            self.cpu_s += clock() - cpu

    def without(self, *parts: "Spent") -> "Spent":
        return Spent(self.wall_s - sum(part.wall_s for part in parts), self.cpu_s - sum(part.cpu_s for part in parts))

    def stage(self, name: str, grows_with: Growth) -> Stage:
        return Stage(name, self.wall_s, self.cpu_s, grows_with)


@dataclass(slots=True)
class Clocks:
    """What the seams of one reindex have measured, on the thread that called it unless said otherwise."""

    read: Spent = field(default_factory=Spent)
    wait: Spent = field(default_factory=Spent)  # for blocks of codes, laying batches out included
    select: Spent = field(default_factory=Spent)
    reading_codes: Spent = field(default_factory=Spent)
    rank: Spent = field(default_factory=Spent)  # all threads
    began: tuple[float, float, float] = field(default_factory=lambda: _now())
    selected: tuple[float, float, float] = (0.0, 0.0, 0.0)  # when the last segment had been selected
    curve: list[tuple[int, float]] = field(default_factory=list)

    def stream(self) -> tuple[Spent, float]:
        """What this thread spent until everything was selected, and the CPU seconds of all threads."""
        wall, own, everyone = (after - before for before, after in zip(self.began, self.selected, strict=True))
        return Spent(wall, own), everyone


def _now() -> tuple[float, float, float]:
    return time.perf_counter(), time.thread_time(), all_cpu()


def all_cpu() -> float:
    """CPU seconds of this process, and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


class TimedScorer:
    """A scorer that notes how long it is about handing out blocks, and how long of that about being handed videos."""

    def __init__(self, scorer: Scorer, clocks: Clocks):
        self._scorer, self._clocks = scorer, clocks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scorer, name)

    def codes(self, videos: Iterable[np.ndarray], *, by_class: bool = False) -> Iterator[np.ndarray]:
        frames = _timed(videos, self._clocks.read, time.thread_time)
        return _timed(self._scorer.codes(frames, by_class=by_class), self._clocks.wait, time.thread_time)


class TimedSelector:
    """A selection that notes how long it takes, and what one pass over the same codes would have taken."""

    def __init__(self, selector: Selector, clocks: Clocks):
        self._selector, self._clocks, self._segments = selector, clocks, 0

    def add_by_class(self, codes: np.ndarray) -> None:
        clocks = self._clocks
        with clocks.select.timing(time.thread_time):
            self._selector.add_by_class(codes)
        with clocks.reading_codes.timing(time.thread_time):
            codes.max(initial=0)
        self._segments += codes.shape[1]
        so_far = all_cpu() - clocks.began[2] - clocks.reading_codes.cpu_s
        clocks.curve.append((self._segments, so_far))

    def ranked(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        self._clocks.selected = _now()
        return _timed(self._selector.ranked(), self._clocks.rank, all_cpu)


Item = TypeVar("Item")


def _timed(items: Iterable[Item], spent: Spent, clock: Callable[[], float]) -> Iterator[Item]:
    """The same items, with what it takes to come by them noted."""
    source = iter(items)
    while True:
        with spent.timing(clock):
            item = next(source, None)
        if item is None:
            return
        yield item


@contextmanager
def timed_selection(clocks: Clocks) -> Iterator[None]:
    """Inside, reindex gets selections that are timed."""
    selection_for = reindexing.selection_for
    reindexing.selection_for = lambda *args, **named: TimedSelector(selection_for(*args, **named), clocks)
    try:
        yield
    finally:
        reindexing.selection_for = selection_for


def whole_job(order: Order) -> Job:
    """Does it, with shards that lie on the disk and not in memory, and says what it took."""
    opening, reindex, csv = Spent(), Spent(), Spent()
    index, submission = IndexDirectory(order.folder / "index"), order.folder / "submission.csv"
    forget(order.files)
    traffic = disk_traffic()
    with opening.timing(all_cpu):
        scorer = OnnxScorer(
            Bundle.open(order.bundle), batch=0, threads=order.threads, precision="int8", cache=order.folder / "cache"
        )
        _compile(order.selection)
    clocks = Clocks()
    with scorer, timed_selection(clocks), reindex.timing(all_cpu):
        timed = TimedScorer(scorer, clocks)
        manifest = reindexing.reindex(
            timed, list(order.files), index, keep=order.keep, selection=order.selection,
            engine=engine_for(timed, EngineWishes(workers=order.workers), threads=order.threads),
        ).manifest  # fmt: skip
    with csv.timing(all_cpu):
        generation = index.open_current()
        generation.verify()
        write_submission(submission, ranked_classes(generation))
    read, written = (after - before for before, after in zip(traffic, disk_traffic(), strict=True))
    return Job(
        stages=(opening.stage("open", "nothing"), *stages(clocks, reindex), csv.stage("CSV", "postings")),
        segments=manifest.segment_count, classes=manifest.class_count, keep=order.keep,
        postings=manifest.posting_count, peak_bytes=peak_bytes(order.workers),
        disk_read_bytes=read, disk_written_bytes=written,
        shard_bytes=sum(file.stat().st_size for file in order.files),
        index_bytes=sum(file.stat().st_size for file in generation.directory.iterdir()),
        csv_bytes=submission.stat().st_size, reading_codes_s=clocks.reading_codes.cpu_s,
        curve=_thinned(clocks.curve), tuning=asdict(scorer.tuning),
    )  # fmt: skip


def stages(clocks: Clocks, reindex: Spent) -> tuple[Stage, ...]:
    """Reindex by its parts; what only measures is left out. reindex: all of it, all threads."""
    read, select, extra = clocks.read, clocks.select, clocks.reading_codes
    wait = clocks.wait.without(read)  # videos are asked for while blocks are waited for
    stream, everyone_s = clocks.stream()
    pieces = stream.without(read, select, extra, wait)
    score = Spent(wait.wall_s, everyone_s - read.cpu_s - select.cpu_s - extra.cpu_s - pieces.cpu_s)
    publish = reindex.without(Spent(stream.wall_s, everyone_s), clocks.rank)
    return (
        read.stage("read", "segments"),
        score.stage("score", "segments"),
        pieces.stage("pieces", "segments"),
        select.stage("select", "segments"),
        clocks.rank.stage("rank", "postings"),
        publish.stage("publish", "postings"),
    )


def _compile(selection: SelectionChoice) -> None:
    """What Numba compiles once a process is no part of what a segment costs."""
    if selection == "numba":
        warm = KernelSelection(2, 2)
        warm.add_by_class(np.zeros((2, 8), np.uint16))
        list(warm.ranked())


def _thinned(curve: list[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
    places = np.unique(np.linspace(0, len(curve) - 1, min(POINTS, len(curve))).astype(int))
    return tuple(curve[place] for place in places.tolist())


def forget(files: Iterable[Path]) -> None:
    """Has the system drop what it holds of the files in memory, so that they are read from the disk."""
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())  # what is not on the disk yet cannot be dropped
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def disk_traffic() -> tuple[int, int]:
    """Bytes that this process has had read from and written to disks."""
    lines = Path("/proc/self/io").read_text().splitlines()
    counts = {name: int(count) for name, count in (line.split(": ") for line in lines)}
    return counts["read_bytes"], counts["write_bytes"]


def peak_bytes(workers: int = 1) -> int:
    """What this process has held at most, mapped files included, and as many workers as the largest one."""
    lines = Path("/proc/self/status").read_text().splitlines()
    own = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss if workers > 1 else 0
    return (own + workers * largest) * 1024
