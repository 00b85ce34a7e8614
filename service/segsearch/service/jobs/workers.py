"""What a worker needs to score shards as the reindex would: the same model, run in the same batches.

Where it stands: `local_processes` and `ray_actors` hand this to their workers. Nothing here knows how a worker runs.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from segsearch.core.bundle import Bundle, Precision
from segsearch.core.errors import BundleRefused, ConfigError, DataError
from segsearch.service.jobs.shard_scoring import ShardTask, Step, score_shard
from segsearch.service.scoring.machine import core_count
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from segsearch.service.scoring.provider import ProviderChoice
from segsearch.service.scoring.scorer import EmbeddingScorer
from segsearch.service.scoring.tuning import RUNS_LIMIT, Tuning

WORKERS_CAP: Final = 1_024
LOSSES_CAP: Final = 3  # workers that may be lost one after the other without a shard finished in between
_REASON_LETTERS: Final = 200


class TunedScorer(EmbeddingScorer, Protocol):
    """A scorer that says what else decides its scores to the last bit."""

    @property
    def precision(self) -> Precision:
        """Which of the bundle's models runs."""

    @property
    def tuning(self) -> Tuning:
        """How it runs: which segments share a batch."""


@dataclass(frozen=True, slots=True)
class WorkerScorer:
    """How a worker opens its scorer. It can be sent to another process."""

    bundle: Path
    digest: str
    precision: Precision
    choice: ProviderChoice
    provider: str  # what must run the model
    batch: int
    threads: int  # runs at a time; 0 takes one for each core of the worker's machine

    @classmethod
    def like(cls, scorer: TunedScorer, choice: ProviderChoice, threads: int) -> "WorkerScorer":
        """choice: with which `scorer` was opened."""
        bundle = scorer.bundle
        return cls(
            bundle.directory.absolute(), bundle.digest, scorer.precision, choice, scorer.provider, scorer.tuning.batch,
            threads,
        )  # fmt: skip

    def open(self) -> OnnxScorer:
        """Raises BundleRefused for what is not the same bundle, ConfigError where something else runs it."""
        bundle = Bundle.open(self.bundle)
        if bundle.digest != self.digest:
            raise BundleRefused(self.bundle, f"a worker finds {bundle.digest[:12]} here, wanted {self.digest[:12]}")
        scorer = OnnxScorer(
            bundle, batch=self.batch, threads=self.threads, provider=self.choice, precision=self.precision
        )
        if scorer.provider != self.provider:
            scorer.close()
            raise ConfigError("provider of a worker", scorer.provider, f"{self.provider}, as the others have")
        return scorer


def share_of_cores(workers: int) -> int:
    """Runs at a time for each of so many workers on this machine."""
    return min(RUNS_LIMIT, max(1, core_count() // workers))


def score_whole(scorer: EmbeddingScorer, task: ShardTask) -> Step:
    """Scores a shard to its end; all its steps as one."""
    steps = list(score_shard(scorer, task))
    records, segments, skipped = (
        sum(counts) for counts in zip(*((step.records, step.segments, step.skipped) for step in steps), strict=True)
    )
    return Step(task.number, records, segments, skipped, finished=True)


class Losses:
    """Counts workers that were lost, so that a shard that kills every worker cannot go on for ever."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def note_finished(self) -> None:
        self._in_a_row = 0

    def note_lost(self, task: ShardTask, error: Exception) -> None:
        """task: one that the worker may have been at. Raises DataError, naming its shard, at one loss too many."""
        self._in_a_row += 1
        if self._in_a_row >= LOSSES_CAP:
            reason = " ".join(str(error).split())[:_REASON_LETTERS]
            found = f"{self._in_a_row} workers were lost, one after the other ({reason})"
            raise DataError(task.shard, None, "scoring", found, "a worker that lives until a shard is scored")
