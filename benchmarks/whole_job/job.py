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
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from whole_job.seams import Clocks, Spent, TimedScorer, all_cpu, timed_selection

from segsearch.core.bundle import Bundle
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.kernel_selection import KernelSelection, SelectionChoice
from segsearch.service.jobs import reindex as reindexing
from segsearch.service.jobs.engines import EngineWishes, engine_for
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from segsearch.service.submission import ranked_classes, write_submission

Growth = Literal["nothing", "segments", "postings"]
POINTS = 40  # of the curve of CPU time over segments


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done."""

    bundle: Path
    files: tuple[Path, ...]
    folder: Path  # for the index and the CSV
    keep: int
    workers: int = 1  # processes that score; one scores in the process of the job
    cache: Path | None = None  # where the scorer's tuning is remembered; in `folder` unless told
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


def whole_job(order: Order) -> Job:
    """Does it, with shards that lie on the disk and not in memory, and says what it took."""
    opening, reindex, csv = Spent(), Spent(), Spent()
    index, submission = IndexDirectory(order.folder / "index"), order.folder / "submission.csv"
    forget(order.files)
    traffic = disk_traffic()
    with opening.timing(all_cpu):
        scorer = OnnxScorer(
            Bundle.open(order.bundle), batch=0, threads=order.threads, precision="int8",
            cache=order.cache or order.folder / "cache",
        )  # fmt: skip
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
        stages=(stage("open", opening, "nothing"), *stages(clocks, reindex), stage("CSV", csv, "postings")),
        segments=manifest.segment_count, classes=manifest.class_count, keep=order.keep,
        postings=manifest.posting_count, peak_bytes=peak_bytes(order.workers),
        disk_read_bytes=read, disk_written_bytes=written,
        shard_bytes=sum(file.stat().st_size for file in order.files),
        index_bytes=sum(file.stat().st_size for file in generation.directory.iterdir()),
        csv_bytes=submission.stat().st_size, reading_codes_s=clocks.reading_codes.cpu_s,
        curve=_thinned(clocks.curve), tuning=asdict(scorer.tuning),
    )  # fmt: skip


def stage(name: str, spent: Spent, grows_with: Growth) -> Stage:
    return Stage(name, spent.wall_s, spent.cpu_s, grows_with)


def stages(clocks: Clocks, reindex: Spent) -> tuple[Stage, ...]:
    """Reindex by its parts; what only measures is left out. reindex: all of it, all threads."""
    read, select, extra = clocks.read, clocks.select, clocks.reading_codes
    wait = clocks.wait.without(read)  # videos are asked for while blocks are waited for
    stream, everyone_s = clocks.stream()
    pieces = stream.without(read, select, extra, wait)
    score = Spent(wait.wall_s, everyone_s - read.cpu_s - select.cpu_s - extra.cpu_s - pieces.cpu_s)
    publish = reindex.without(Spent(stream.wall_s, everyone_s), clocks.rank)
    return (
        stage("read", read, "segments"),
        stage("score", score, "segments"),
        stage("pieces", pieces, "segments"),
        stage("select", select, "segments"),
        stage("rank", clocks.rank, "postings"),
        stage("publish", publish, "postings"),
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
