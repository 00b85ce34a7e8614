"""The whole job, measured from within: shards on disk to a published generation and a submission CSV.

Where it stands: `headline` runs `whole_job` in a process of its own and reckons with what comes back. The job is the
product's own `reindex` and `write_submission`; what is measured is measured at their seams: the scorer, which is handed
the videos and hands out blocks of codes, and the selection, which takes these.

Reading, selecting and what lies between scoring and selecting (*pieces*: score codes written down shard by shard and
read again) happen on the thread that else waits for scores, so that by the clock the stages add up to the whole. The
CPU seconds of scoring are what all other threads spent, and what this one spent on laying batches out. With several
worker processes their reading and writing counts as scoring, and waiting for them, by the clock, as pieces; what Ray's
processes spend is seen from outside alone (`usage`).

N segments, C classes, S segments of a block.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from whole_job.processes import watched
from whole_job.seams import Clocks, Spent, TimedScorer, all_cpu, timed_selection
from whole_job.usage import Usage

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
    actors: int = 0  # of Ray, in place of these
    cache: Path | None = None  # where the scorer's tuning is remembered; in `folder` unless told
    threads: int = 0  # of scoring, as `reindex` takes it
    selection: SelectionChoice = "numba"  # what `auto` takes at full size

    @property
    def name(self) -> str:
        """Tells one order on a library from another."""
        by = f"{self.actors}-actors" if self.actors else f"{self.workers}-workers"
        model = self.bundle.parents[2].name
        return f"{len(self.files)}-shards-{model}-keep-{self.keep}-{by}-{self.threads}-threads"

    @property
    def wishes(self) -> EngineWishes:
        return EngineWishes(kind="ray", actors=self.actors) if self.actors else EngineWishes(workers=self.workers)


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
    shard_count: int
    shard_bytes: int
    index_bytes: int
    csv_bytes: int
    reading_codes_s: float  # CPU seconds of one pass that only reads the codes that selection took
    curve: tuple[tuple[int, float], ...]  # segments so far, CPU seconds of the stream so far
    tuning: dict[str, int]
    load: float  # of the machine when the job began: what others did
    peak_bytes: int  # that the job's own process held, mapped files included
    usage: Usage = field(default_factory=Usage)  # of all processes, as seen from outside

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Job":
        """From what `asdict` made, by way of JSON."""
        stages = tuple(Stage(**stage) for stage in document["stages"])
        curve = tuple((segments, spent) for segments, spent in document["curve"])
        return cls(**{**document, "stages": stages, "curve": curve, "usage": Usage(**document["usage"])})

    @property
    def memory_bytes(self) -> int:
        """Of all processes at the worst moment."""
        return max(self.peak_bytes, self.usage.memory_bytes)

    def stage(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)

    @property
    def wall_s(self) -> float:
        return sum(stage.wall_s for stage in self.stages)


def measured_job(order: Order) -> Job:
    """The job in a process of its own, with what that and all that it starts take."""
    job, usage = watched(whole_job, order)
    return replace(job, usage=usage)


def whole_job(order: Order) -> Job:
    """Does it, with shards that lie on the disk and not in memory, and says what it took."""
    load = os.getloadavg()[0]
    opening, reindex, csv = Spent(), Spent(), Spent()
    index, submission = IndexDirectory(order.folder / "index"), order.folder / "submission.csv"
    forget(order.files)
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
            engine=engine_for(timed, order.wishes, threads=order.threads),
        ).manifest  # fmt: skip
    with csv.timing(all_cpu):
        generation = index.open_current()
        generation.verify()
        write_submission(submission, ranked_classes(generation))
    return Job(
        stages=(stage("open", opening, "nothing"), *stages(clocks, reindex), stage("CSV", csv, "postings")),
        segments=manifest.segment_count, classes=manifest.class_count, keep=order.keep,
        postings=manifest.posting_count, shard_count=len(order.files),
        shard_bytes=sum(file.stat().st_size for file in order.files),
        index_bytes=sum(file.stat().st_size for file in generation.directory.iterdir()),
        csv_bytes=submission.stat().st_size, reading_codes_s=clocks.reading_codes.cpu_s,
        curve=_thinned(clocks.curve), tuning=asdict(scorer.tuning), load=load, peak_bytes=peak_bytes(),
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


def peak_bytes() -> int:
    """What this process has held at most, mapped files included."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
