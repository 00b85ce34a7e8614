"""Claim: a segment costs the same among many and among few, and what more classes cost is the head's own products.

The whole job as `headline` does it (its library, its stages), run for several numbers of segments, of classes, and of
workers: in this process, two processes, two Ray actors. Nothing is reckoned up: each figure is of a run of that size.

    .venv/bin/python benchmarks/scaling.py [--scale 1] [--go-on] [--scratch FOLDER] [--json PATH]

At `--scale 1` the largest run has all 2,062,258 segments. With `--go-on` runs are taken that an earlier call at this
scale, or `headline`'s, has finished, so that the largest need not be done twice.
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from headline import SMALL_SEGMENTS, STREAM, noted, notes_of
from report import Curve, Measure, arguments, report
from starter_manner import SCRATCH
from whole_job.job import Job, Order, Stage
from whole_job.library import FULL_SEGMENTS, SHARDS, Size, check_room, models, shard_count, shards
from whole_job.notes import Notes
from whole_job.processes import empty_folder, in_process

PARTS = (0.005, 0.01, 0.05, 0.15, 0.5, 1.0)  # of the scale; classes and workers have one each, or as much as is few
CLASSES, CLASSES_PART = (100, 1000, 3862), 0.05
WORKERS, WORKERS_PART = {"this process": (1, 0), "two processes": (2, 0), "two Ray actors": (1, 2)}, 0.15
FEW_SHARDS = 36
KEEP = 100_000


def job(options: argparse.Namespace, notes: Notes, part: float, size: Size, by: str = "this process") -> Job:
    files = shards(options.scratch / "shards", options.scale * part)
    made = in_process(models, options.scratch, size, files[0])
    workers, actors = WORKERS[by]
    with empty_folder(options.scratch / "job") as folder:
        order = Order(made.bundle, tuple(files), folder, KEEP, workers, actors)
        return noted(notes, replace(order, cache=notes.folder / "tuning"))


def cpu_ms(job: Job, stages: tuple[Stage, ...]) -> float:
    """Of one segment."""
    return 1e3 * sum(stage.cpu_s for stage in stages) / job.segments


def stream(job: Job) -> tuple[Stage, ...]:
    """From the shard to its place in the lists."""
    return tuple(job.stage(name) for name in STREAM)


def all_but_opening(job: Job) -> tuple[Stage, ...]:
    return tuple(stage for stage in job.stages if stage.grows_with != "nothing")


def by_segments(jobs: Mapping[float, Job]) -> list[Measure]:
    most, few = jobs[max(jobs)], fewest(jobs)
    found = [
        Measure("a segment of many / of few, all stages but opening", cost(most) / cost(few), at_most=1.1),
        Measure("a segment of many / of few, stream alone", cpu_ms(most, stream(most)) / cpu_ms(few, stream(few)),
                at_most=1.1),
    ]  # fmt: skip
    for job in jobs.values():
        among = f"among {job.segments:,} segments"
        found += [
            Measure(among, cost(job), "ms CPU a segment"),
            Measure(f"{among}, stream alone", cpu_ms(job, stream(job)), "ms CPU a segment"),
            Measure(f"{among}, wall", job.wall_s, "s"),
            Measure(f"{among}, peak memory", job.memory_bytes / 1e9, "GB"),
        ]
    return found


def cost(job: Job) -> float:
    return cpu_ms(job, all_but_opening(job))


def fewest(jobs: Mapping[float, Job]) -> Job:
    """The one with about 20,000 segments, but not the largest."""
    smaller = sorted(jobs)[:-1] or sorted(jobs)
    return min((jobs[part] for part in smaller), key=lambda job: abs(job.segments - SMALL_SEGMENTS))


def by_classes(jobs: Mapping[int, Job]) -> list[Measure]:
    found, usual = [], Size().operations
    for classes, job in jobs.items():
        one, thousand = cpu_ms(job, stream(job)), cpu_ms(jobs[1000], stream(jobs[1000]))
        found += [
            Measure(f"{classes:,} classes", one, "ms CPU a segment"),
            Measure(f"{classes:,} classes / 1,000, CPU", one / thousand),
            Measure(f"{classes:,} classes / 1,000, operations", Size(classes=classes).operations / usual),
            Measure(f"{classes:,} classes, rank, publish and CSV", behind_stream_s(job), "s CPU"),
            Measure(f"{classes:,} classes, peak memory", job.memory_bytes / 1e9, "GB"),
        ]
    return found


def behind_stream_s(job: Job) -> float:
    return sum(stage.cpu_s for stage in job.stages if stage.grows_with == "postings")


def by_workers(jobs: Mapping[str, Job]) -> list[Measure]:
    """By the clock from the first shard to the last list, starting workers included; CPU time of the whole job but
    opening, which may have to tune."""
    found = []
    walls = {name: 1e3 * sum(stage.wall_s for stage in stream(job)) / job.segments for name, job in jobs.items()}
    cpus = {name: 1e3 * (job.usage.cpu_s - job.stage("open").cpu_s) / job.segments for name, job in jobs.items()}
    for name, job in jobs.items():
        found += [
            Measure(name, walls[name], "ms wall a segment"),
            Measure(f"{name} / this process, wall", walls[name] / walls["this process"]),
            Measure(f"{name} / this process, CPU", cpus[name] / cpus["this process"]),
            Measure(f"{name}, peak memory, all processes", job.memory_bytes / 1e9, "GB"),
        ]
    return found


def curves(segments: Mapping[float, Job], classes: Mapping[int, Job]) -> dict[str, Curve]:
    return {
        "all but opening": [(job.segments, cost(job)) for job in segments.values()],
        "read, score, pieces, select": [(job.segments, cpu_ms(job, stream(job))) for job in segments.values()],
        "classes": [(count, cpu_ms(job, stream(job))) for count, job in classes.items()],
    }


def parts(scale: float) -> tuple[float, ...]:
    """Without those that come to the same shards as a smaller one."""
    by_count = {shard_count(scale * part): part for part in reversed(PARTS)}
    return tuple(sorted(by_count.values()))


def at_least_few(part: float, scale: float) -> float:
    """A part of so many segments that starting workers is not all that there is to see."""
    return min(1.0, max(part, FEW_SHARDS / (SHARDS * scale)))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--scale", type=float, default=0.01, help="part of the library")
    parser.add_argument("--scratch", type=Path, default=SCRATCH, help="where library and models lie, or are put")
    parser.add_argument("--go-on", action="store_true", help="take what an earlier run at this scale has finished")
    options = parser.parse_args()
    check_room(options.scratch / "shards", options.scale, Size().classes, KEEP)
    classes_part, workers_part = (at_least_few(part, options.scale) for part in (CLASSES_PART, WORKERS_PART))
    check_room(options.scratch / "shards", options.scale * classes_part, max(CLASSES), KEEP)
    notes = notes_of(options)
    segments = {part: job(options, notes, part, Size()) for part in parts(options.scale)}
    classes = {count: job(options, notes, classes_part, Size(classes=count)) for count in CLASSES}
    workers = {name: job(options, notes, workers_part, Size(), name) for name in WORKERS}
    measures = by_segments(segments) + by_classes(classes) + by_workers(workers)
    most = max(job.segments for job in segments.values())
    title = f"The whole job, by its size, to {most:,} of {FULL_SEGMENTS:,} segments"
    report(title, measures, options.json, curves(segments, classes))


if __name__ == "__main__":
    main()
