"""What scores the shards of a reindex: this process, several of this machine, or Ray actors.

Where it stands: `reindex` knows only `Engine`. Every engine scores by `shard_scoring`, and so leaves the same bytes.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from segsearch.core.errors import ConfigError
from segsearch.service.jobs.local_processes import LocalProcesses
from segsearch.service.jobs.ray_actors import RayActors
from segsearch.service.jobs.shard_scoring import ShardTask, Step, score_shard
from segsearch.service.jobs.workers import WORKERS_CAP, TunedScorer, WorkerScorer, share_of_cores
from segsearch.service.scoring.provider import ProviderChoice
from segsearch.service.scoring.scorer import EmbeddingScorer

EngineKind = Literal["local", "ray"]


class Engine(Protocol):
    """Scores shards, each by itself."""

    def run(self, tasks: Sequence[ShardTask]) -> Generator[Step]:
        """Scores every task's shard into its piece. Steps of different tasks may mix; each task ends with a finished
        one. Raises what scoring a shard raises; closing the iterator ends the work."""


@dataclass(frozen=True, slots=True)
class InProcess:
    """One shard after the other, with the scorer that is open here."""

    scorer: EmbeddingScorer

    def run(self, tasks: Sequence[ShardTask]) -> Generator[Step]:
        for task in tasks:
            yield from score_shard(self.scorer, task)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineWishes:
    """Which engine, and how large."""

    kind: EngineKind = "local"
    workers: int = 1  # processes of `local`; one scores in this process
    actors: int = 2  # of `ray`, and what follows too
    address: str | None = None
    gpus_per_actor: float = 0.0

    def __post_init__(self) -> None:
        ConfigError.check_range("workers", self.workers, 1, WORKERS_CAP)
        ConfigError.check_range("actors", self.actors, 1, WORKERS_CAP)
        if not 0 <= self.gpus_per_actor <= WORKERS_CAP:
            raise ConfigError("gpus_per_actor", self.gpus_per_actor, f"0 to {WORKERS_CAP}")
        if self.kind == "local" and (self.address or self.gpus_per_actor):
            raise ConfigError("engine", self.kind, "ray, where an address or GPUs per actor are given")
        if self.kind == "ray" and self.workers > 1:
            raise ConfigError("engine", self.kind, "local, where workers are given; Ray has actors")


def engine_for(scorer: TunedScorer, wishes: EngineWishes, choice: ProviderChoice = "auto", threads: int = 0) -> Engine:
    """The engine whose workers score as `scorer` does; raises MissingExtra where Ray is not installed.

    choice: with which provider `scorer` was opened. threads: runs at a time in each worker; 0 shares this machine's
    cores among them, or takes one for each core of the machine where a cluster's actor runs.
    """
    if wishes.kind == "ray":
        threads = threads or (0 if wishes.address else share_of_cores(wishes.actors))
        like = WorkerScorer.like(scorer, choice, threads)
        return RayActors(like, wishes.actors, wishes.address, wishes.gpus_per_actor)
    if wishes.workers == 1:
        return InProcess(scorer)
    like = WorkerScorer.like(scorer, choice, threads or share_of_cores(wishes.workers))
    return LocalProcesses(like, wishes.workers)
