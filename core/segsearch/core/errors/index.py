"""Generations in an index directory, and the jobs that write them."""

from pathlib import Path

from segsearch.core.errors.base import SegsearchError


class NoGeneration(SegsearchError):
    """An index directory in which nothing has been published yet."""

    code = "no-generation"

    def __init__(self, directory: Path):
        super().__init__(f"index {directory}: no generation is published; run `segsearch reindex` first")
        self.directory = directory


class UnknownGeneration(SegsearchError):
    """A generation that is not in the index directory."""

    code = "unknown-generation"

    def __init__(self, directory: Path, number: int, there: list[int]):
        wanted = f"one of {', '.join(map(str, there))}" if there else "none is there"
        super().__init__(f"index {directory}: no generation {number}; {wanted}")
        self.directory, self.number, self.there = directory, number, there


class GenerationCorrupt(SegsearchError):
    """An index generation whose files do not agree with its manifest."""

    code = "generation-corrupt"

    def __init__(self, directory: Path, reason: str):
        super().__init__(f"generation {directory}: {reason}")
        self.directory, self.reason = directory, reason


class IndexBusy(SegsearchError):
    """An index directory that another reindex is writing to."""

    code = "index-busy"

    def __init__(self, directory: Path):
        super().__init__(f"index {directory}: another reindex is running here; wanted to be the only one")
        self.directory = directory


class UnknownJob(SegsearchError):
    """A job that was never started here, or is long forgotten."""

    code = "unknown-job"

    def __init__(self, job_id: str):
        super().__init__(f"no job {job_id[:80]!r}")
        self.job_id = job_id
