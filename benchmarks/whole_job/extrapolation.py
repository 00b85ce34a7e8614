"""From a fraction of the library to all of it, by what each stage's time grows with.

- nothing: opening the model, tuning, compiling.
- segments: reading, scoring and selecting, which go through the library once.
- postings: ordering, publishing and the CSV, which end where every class has its K postings. At a scale of 0.05 they
  have them already, and what is left is as large as it ever gets.

N segments, C classes, K postings a class.
"""

from dataclasses import replace

from whole_job.job import Growth, Job, Stage
from whole_job.library import FULL_SEGMENTS

POSTING_BYTES = 6  # in memory: ordinal and code
ROOM = 1.5  # that selection holds for each of K postings (`KernelSelection`)


def at_size(job: Job, segments: int = FULL_SEGMENTS) -> tuple[Stage, ...]:
    """The job's stages as they would be with so many segments."""
    factors: dict[Growth, float] = {
        "nothing": 1.0,
        "segments": segments / job.segments,
        "postings": postings(segments, job) / job.postings,
    }
    return tuple(
        replace(
            stage,
            wall_s=stage.wall_s * factors[stage.grows_with],
            cpu_s=stage.cpu_s * factors[stage.grows_with],
        )
        for stage in job.stages
    )


def postings(segments: int, job: Job) -> int:
    """Of all classes together."""
    return job.classes * min(job.keep, segments)


def peak_bytes_at_size(job: Job, segments: int = FULL_SEGMENTS) -> float:
    """What the job would hold: its own peak, and the part of the lists that is still empty."""
    return job.memory_bytes + ROOM * POSTING_BYTES * (postings(segments, job) - job.postings)


def cpu_share(stages: tuple[Stage, ...], names: tuple[str, ...]) -> float:
    """Of all CPU time."""
    return sum(stage.cpu_s for stage in stages if stage.name in names) / sum(stage.cpu_s for stage in stages)
