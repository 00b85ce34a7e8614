"""Claim: the paper's headline job takes minutes on two cores, and a fraction of the starter code's CPU time. The aim is
a 25th; what was reached stands in docs/performance.md.

2,062,258 segments of 44,740 videos, made up, in YouTube-8M's wire format, 12 GB; a bag of frames with 8192 clusters and
1024 hidden units, 1,000 classes, 5 frames of context; from shards on disk, by way of `reindex` as it comes and the
8-bit model, to a published generation and the submission CSV. Beside it, in the same run and on the same videos with
the same weights: the manner of the starter code (`starter_manner`), and what each stage could cost at least.

`--scale` runs a fraction and reckons from it how long all of it takes, stage by stage (`whole_job/extrapolation.py`);
the title says which part was run. The library is written once to `--scratch`, and used again. A run that was killed
begins anew, or goes on with `--go-on` behind the last part that was finished: the job, the job with few segments, the
limits, the starter manner's three forms.

    .venv/bin/python benchmarks/headline.py [--scale 1] [--workers 2] [--go-on] [--json PATH]
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from report import Measure, arguments, report
from starter_manner import SCRATCH, Cost, cost, manners
from whole_job.extrapolation import at_size, cpu_share, peak_bytes_at_size
from whole_job.job import Job, Order, Stage, measured_job
from whole_job.library import FULL_SEGMENTS, Models, Size, check_room, models, shard_count, shards
from whole_job.limits import Limits, limits
from whole_job.notes import Notes
from whole_job.processes import empty_folder, in_process

STREAM = ("read", "score", "pieces", "select")
AROUND_SCORING = ("read", "pieces", "select", "rank", "publish", "CSV")
SMALL_SEGMENTS = 20_000
BYTES_A_SEGMENT = 5_900  # of the shards, about


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that one call has measured."""

    size: Size
    job: Job
    small: Job  # the same with few segments
    limits: Limits
    starter: dict[str, Cost]

    @property
    def full(self) -> tuple[Stage, ...]:
        """The job's stages at full size."""
        return at_size(self.job)

    @property
    def cpu_ms(self) -> float:
        """Of one segment at full size, opening and all."""
        return 1e3 * sum(stage.cpu_s for stage in self.full) / FULL_SEGMENTS


def measured(options: argparse.Namespace) -> Run:
    size, notes = size_of(options), notes_of(options)
    check_room(options.scratch / "shards", options.scale, options.classes, options.keep)
    files = shards(options.scratch / "shards", options.scale)
    made: Models = in_process(models, options.scratch, size, files[0])
    with empty_folder(options.scratch / "job") as folder:
        order = Order(made.bundle, tuple(files), folder, options.keep, options.workers, threads=options.threads)
        job, small = (noted(notes, each) for each in (order, replace(order, files=first_shards(files, SMALL_SEGMENTS))))
        least = notes.take(
            f"limits-{order.name}", lambda document: Limits(**document),
            lambda: in_process(limits, files, size, job.index_bytes, job.csv_bytes, folder),
        )  # fmt: skip
    starter = {
        name: notes.take(
            f"starter-{size.clusters}-{size.hidden}-{options.starter_videos}-videos-{manner.draws}-draws-{manner.top}-of-{options.classes}",
            lambda document: Cost(**document),
            lambda manner=manner: cost(made.checkpoint, files, manner, options.starter_videos),
        )
        for name, manner in manners(options.classes).items()
    }  # fmt: skip
    return Run(size, job, small, least, starter)


def notes_of(options: argparse.Namespace) -> Notes:
    """Of runs at this scale; `scaling` has the same."""
    return Notes(options.scratch / "notes" / f"{shard_count(options.scale)}-shards", go_on=options.go_on)


def noted(notes: Notes, order: Order) -> Job:
    return notes.take(order.name, Job.of, lambda: measured_job(order))


def first_shards(files: Sequence[Path], segments: int) -> tuple[Path, ...]:
    """The first shards with about so many segments, but no more than half of all."""
    count = round(segments * BYTES_A_SEGMENT / files[0].stat().st_size)
    return tuple(files[: max(1, min(count, len(files) // 2))])


def measures(run: Run) -> list[Measure]:
    return [*claims(run), *stages(run), *distances(run), *traffic(run)]


def claims(run: Run) -> list[Measure]:
    full, all_draws, few_draws, few_classes = run.full, *run.starter.values()
    wall, cpu = (sum(getattr(stage, part) for stage in full) / 60 for part in ("wall_s", "cpu_s"))
    return [
        Measure("starter manner, 30 draws / ours, CPU", all_draws.ms_a_segment / run.cpu_ms, at_least=25),
        Measure("starter manner, 5 draws / ours, CPU", few_draws.ms_a_segment / run.cpu_ms, at_least=15),
        Measure("starter manner, 30 draws, 20 classes / ours, CPU", few_classes.ms_a_segment / run.cpu_ms),
        Measure("whole job at full size, wall", wall, "min", at_most=12),
        Measure("whole job at full size, CPU time / cores", cpu / (os.cpu_count() or 1), "min"),
        Measure("reading, selection, publishing and CSV / all, CPU", cpu_share(full, AROUND_SCORING), at_most=0.20),
        Measure("peak memory, lists full", peak_bytes_at_size(run.job) / 1e9, "GB", at_most=4),
        Measure("a segment of many / of few, all stages but opening", growth(run), at_most=1.1),
        Measure("a segment of many / of few, stream alone", stream_growth(run), at_most=1.1),
    ]


def growth(run: Run) -> float:
    """CPU time of a segment at full size over that of one among few. Below 1 where lists no longer grow."""
    many, few = (
        sum(stage.cpu_s for stage in stages if stage.grows_with != "nothing") for stages in (run.full, run.small.stages)
    )
    return many / FULL_SEGMENTS / (few / run.small.segments)


def stream_growth(run: Run) -> float:
    """The same of reading, scoring and selecting, as measured."""
    many, few = (sum(job.stage(name).cpu_s for name in STREAM) / job.segments for job in (run.job, run.small))
    return many / few


def stages(run: Run) -> list[Measure]:
    found = [Measure("ours", run.cpu_ms, "ms CPU a segment")]
    for stage in run.full:
        found.append(Measure(f"ours, {stage.name}", 1e3 * stage.cpu_s / FULL_SEGMENTS, "ms CPU a segment"))
        found.append(Measure(f"ours, {stage.name}, at full size", stage.wall_s, "s wall"))
    for name, spent in run.starter.items():
        parts = (("", spent.graph_s + spent.text_s + spent.lists_s), (", graph", spent.graph_s),
                 (", text", spent.text_s), (", lists", spent.lists_s))  # fmt: skip
        found += [
            Measure(f"starter manner, {name}{part}", 1e3 * s / spent.segments, "ms CPU a segment") for part, s in parts
        ]
    return found


def distances(run: Run) -> list[Measure]:
    """How far each stage is from what it could cost at least."""
    job, least = run.job, run.limits
    rate = run.size.operations * job.segments / job.stage("score").cpu_s
    publish = job.stage("publish").wall_s
    return [
        Measure("read / reading the shards from disk, wall", job.stage("read").wall_s / least.disk_read_s),
        Measure("read / reading the shards from memory, wall", job.stage("read").wall_s / least.memory_read_s),
        Measure("score, share of the 8-bit product's rate", rate / least.integer_rate),
        Measure("score, multiple of the float product's rate", rate / least.float_rate),
        Measure("select / one pass over its codes, CPU", job.stage("select").cpu_s / job.reading_codes_s),
        Measure("publish / writing its bytes, wall", publish / least.publish_s),
        Measure("CSV / writing its bytes, wall", job.stage("CSV").wall_s / least.csv_s),
    ]


def traffic(run: Run) -> list[Measure]:
    job = run.job
    return [
        Measure("load when the job began", job.load),
        Measure("segments of this run", job.segments),
        Measure("share of the library that was run", job.segments / FULL_SEGMENTS),
        Measure("this run, wall", job.wall_s, "s"),
        Measure("this run, CPU time, all processes", job.usage.cpu_s, "s"),
        Measure("this run, peak memory, all processes", job.memory_bytes / 1e9, "GB"),
        Measure("this run, files of the library", job.shard_count),
        Measure("this run, shards", job.shard_bytes / 1e9, "GB"),
        Measure("this run, read from disk, all processes", job.usage.disk_read_bytes / 1e9, "GB"),
        Measure("this run, written to disk, all processes", job.usage.disk_written_bytes / 1e9, "GB"),
        Measure("this run, index", job.index_bytes / 1e9, "GB"),
        Measure("this run, CSV", job.csv_bytes / 1e9, "GB"),
        *(Measure(f"this run, tuning, {name}", value) for name, value in job.tuning.items()),
    ]


def title(job: Job) -> str:
    if job.segments == FULL_SEGMENTS:
        return f"The whole job, {FULL_SEGMENTS:,} segments"
    return f"The whole job, {FULL_SEGMENTS:,} segments, reckoned from {job.segments:,} that were run"


def parser() -> argparse.ArgumentParser:
    parser, usual = arguments(__doc__), Size()
    parser.add_argument("--scale", type=float, default=0.01, help="part of the library that is run; 1 is all of it")
    parser.add_argument("--scratch", type=Path, default=SCRATCH, help="where library and model lie, or are put")
    parser.add_argument("--workers", type=int, default=1, help="processes that score, as reindex takes them")
    parser.add_argument("--threads", type=int, default=0, help="runs of the model at a time; 0 as reindex finds best")
    parser.add_argument("--keep", type=int, default=100_000)
    parser.add_argument("--clusters", type=int, default=usual.clusters)
    parser.add_argument("--hidden", type=int, default=usual.hidden)
    parser.add_argument("--classes", type=int, default=usual.classes)
    parser.add_argument("--starter-videos", type=int, default=16, help="how many the starter manner is measured on")
    parser.add_argument("--go-on", action="store_true", help="take what an earlier run, which was killed, has finished")
    return parser


def size_of(options: argparse.Namespace) -> Size:
    return Size(options.clusters, options.hidden, options.classes)


def main() -> None:
    options = parser().parse_args()
    run = measured(options)
    report(title(run.job), measures(run), options.json, {"CPU seconds by segments": run.job.curve})


if __name__ == "__main__":
    main()
