"""Claim: a segment costs the same among many and among few, and what more classes cost is the head's own products.

The whole job as `headline` does it (its library, its stages), run for several numbers of segments, of classes and of
worker processes. Fractions of the library cost CPU time in the stream alone, which is told; what comes behind it ends
where lists are full.

    .venv/bin/python benchmarks/scaling.py [--scale 0.004] [--scratch FOLDER] [--json PATH]
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

from headline import STREAM
from report import Measure, arguments, report
from starter_manner import SCRATCH
from whole_job.job import Job, Order, whole_job
from whole_job.library import Size, models, shards
from whole_job.processes import empty_folder, in_process

PARTS = (0.25, 0.5, 1.0)  # of the scale
CLASSES = (100, 1000, 3862)
WORKERS = (1, 2)
KEEP = 100_000


def job(options: argparse.Namespace, size: Size, workers: int = 1, part: float = 1.0) -> Job:
    files = shards(options.scratch / "shards", options.scale * part)
    made = in_process(models, options.scratch, size, files[0])
    with empty_folder(options.scratch / "job") as folder:
        return in_process(whole_job, Order(made.bundle, tuple(files), folder, KEEP, workers, options.scratch / "cache"))


def cpu_ms(job: Job) -> float:
    """Of one segment, from the shard to its place in the lists."""
    return 1e3 * sum(job.stage(name).cpu_s for name in STREAM) / job.segments


def wall_ms(job: Job) -> float:
    return 1e3 * sum(job.stage(name).wall_s for name in STREAM) / job.segments


def measures(
    by_part: Mapping[float, Job], by_classes: Mapping[int, Job], by_workers: Mapping[int, Job]
) -> list[Measure]:
    most, least = by_part[max(by_part)], by_part[min(by_part)]
    found = [Measure("a segment of many / of few, CPU", cpu_ms(most) / cpu_ms(least), at_most=1.1)]
    found += [Measure(f"among {job.segments:,} segments", cpu_ms(job), "ms CPU a segment") for job in by_part.values()]
    usual = Size().operations
    for classes, job in by_classes.items():
        found.append(Measure(f"{classes:,} classes", cpu_ms(job), "ms CPU a segment"))
        found.append(Measure(f"{classes:,} classes / 1,000, CPU", cpu_ms(job) / cpu_ms(by_classes[1000])))
        found.append(Measure(f"{classes:,} classes / 1,000, operations", Size(classes=classes).operations / usual))
    for workers, job in by_workers.items():
        found.append(Measure(f"{workers} processes", wall_ms(job), "ms wall a segment"))
        found.append(Measure(f"{workers} processes / 1, wall", wall_ms(job) / wall_ms(by_workers[1])))
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--scale", type=float, default=0.004, help="part of the library")
    parser.add_argument("--scratch", type=Path, default=SCRATCH, help="where library and models lie, or are put")
    options = parser.parse_args()
    by_part = {part: job(options, Size(), part=part) for part in PARTS}
    by_classes = {classes: job(options, Size(classes=classes)) for classes in CLASSES}
    by_workers = {workers: job(options, Size(), workers) for workers in WORKERS}
    report("The whole job, by its size", measures(by_part, by_classes, by_workers), options.json)


if __name__ == "__main__":
    main()
