"""Shards scored by Ray actors, on this machine or on a cluster's: all of them see the same files.

Where it stands: an `Engine`. Actors, not Ray Data: this work has no rows to shuffle, and actors keep their model. An
actor that is lost is replaced, and its shard done again.
"""

import os
import sys
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any, Final

from segsearch.core.errors import ConfigError, MissingExtra
from segsearch.service.jobs.shard_scoring import ShardTask, Step
from segsearch.service.jobs.workers import Losses, WorkerScorer, score_whole
from segsearch.service.scoring.machine import core_count
from segsearch.service.scoring.onnx_scorer import OnnxScorer

# Ray's own tasks need room beside the actors: two actors of a whole CPU on two cores starve them.
CPUS_PER_ACTOR: Final = 0.5
_OBJECT_STORE_BYTES: Final = 100 << 20  # holds tasks and steps; scores go to disk

Ray = Any  # an extra, imported where it is needed


@dataclass(frozen=True, slots=True)
class RayActors:
    """So many actors; `address` of a cluster, as `auto` or ray://head:10001, or a cluster of this machine alone."""

    scorer: WorkerScorer
    actors: int
    address: str | None = None
    gpus_per_actor: float = 0.0

    def __post_init__(self) -> None:
        """Raises MissingExtra where Ray is not installed."""
        if find_spec("ray") is None:
            raise MissingExtra("reindex --engine ray", "cluster", "ray")

    def run(self, tasks: Sequence[ShardTask]) -> Generator[Step]:
        """Raises ConfigError where the cluster does not answer, or is too small for the actors."""
        if tasks:
            with self._cluster() as ray:
                self._check_room(ray.cluster_resources())
                yield from self._score(ray, deque(tasks))

    def _score(self, ray: Ray, waiting: deque[ShardTask]) -> Iterator[Step]:
        options = {"num_cpus": CPUS_PER_ACTOR, "num_gpus": self.gpus_per_actor}
        make = ray.remote(**options)(ShardActor).remote
        idle = [make(self.scorer) for _ in range(min(self.actors, len(waiting)))]
        under_way: dict[Any, tuple[Any, ShardTask]] = {}  # by what is promised: who is at which task
        losses = Losses()
        while waiting or under_way:
            while waiting and idle:
                actor, task = idle.pop(), waiting.popleft()
                under_way[actor.score.remote(task)] = actor, task
            (ready,), _ = ray.wait(list(under_way), num_returns=1)
            actor, task = under_way.pop(ready)
            try:
                step = ray.get(ready)
            except ray.exceptions.RayActorError as error:
                losses.note_lost(task, error)
                waiting.appendleft(task)
                actor = make(self.scorer)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None  # as it was raised there
            else:
                losses.note_finished()
                yield step
            idle.append(actor)

    @contextmanager
    def _cluster(self) -> Iterator[Ray]:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers what runs here
        ray = import_module("ray")
        # A short name: sockets lie below it, whose paths end at 107 letters.
        with TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
            try:
                with redirect_stdout(sys.stderr):  # where Ray's talk of lost workers belongs: stdout is for machines
                    self._join(ray, folder)
                    yield ray
            finally:
                ray.shutdown()

    def _join(self, ray: Ray, folder: str) -> None:
        try:
            ray.init(**self._where(folder), log_to_driver=False, logging_level="ERROR")
        except Exception as error:  # Ray has no type of its own for a cluster that does not start or answer
            raise ConfigError("ray_address", self.address, f"a cluster that answers ({error})") from None

    def _check_room(self, resources: Mapping[str, float]) -> None:
        """Ray would wait for ever for what its cluster does not have."""
        for name, each in (("CPU", CPUS_PER_ACTOR), ("GPU", self.gpus_per_actor)):
            room = resources.get(name, 0.0)
            if each * self.actors > room:
                raise ConfigError("actors", self.actors, f"at most {room:g} {name} of the cluster / {each:g} for each")

    def _where(self, folder: str) -> dict[str, Any]:
        """folder: for sockets and logs of a cluster that ends with this reindex."""
        if self.address is not None:
            return {"address": self.address}
        return {
            "num_cpus": max(core_count(), -(-self.actors // 2)),
            "object_store_memory": _OBJECT_STORE_BYTES,
            "include_dashboard": False,
            "_temp_dir": folder,
        }


class ShardActor:
    """One worker: opens its scorer when it has its first task."""

    def __init__(self, scorer: WorkerScorer):
        self._how = scorer
        self._opened: OnnxScorer | None = None

    def score(self, task: ShardTask) -> Step:
        if self._opened is None:
            self._opened = self._how.open()
        return score_whole(self._opened, task)
