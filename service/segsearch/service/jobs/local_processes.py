"""Shards scored by several processes of this machine, each with a model of its own.

Where it stands: an `Engine`. A process that dies takes the others of its pool with it; what was not finished is done
again by a new pool.
"""

import os
import signal
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait

from segsearch.service.jobs.shard_scoring import ShardTask, Step
from segsearch.service.jobs.workers import Losses, WorkerScorer, score_whole
from segsearch.service.scoring.onnx_scorer import OnnxScorer


@dataclass(frozen=True, slots=True)
class LocalProcesses:
    """So many processes at a time."""

    scorer: WorkerScorer
    workers: int

    def run(self, tasks: Sequence[ShardTask]) -> Generator[Step]:
        left, losses = {task.number: task for task in tasks}, Losses()
        while left:
            try:
                for step in self._score(list(left.values())):
                    del left[step.number]
                    losses.note_finished()
                    yield step
            except BrokenProcessPool as error:
                losses.note_lost(next(iter(left.values())), error)

    def _score(self, tasks: list[ShardTask]) -> Iterator[Step]:
        """Steps of the tasks as they are done; raises BrokenProcessPool where a process died."""
        # Spawned, not forked: a fork would copy threads' locks that nobody opens.
        pool = ProcessPoolExecutor(min(self.workers, len(tasks)), get_context("spawn"), _begin)
        try:
            for future in as_completed([pool.submit(_score_task, self.scorer, task) for task in tasks]):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)  # waits for the shards that are under way


_scorer: OnnxScorer | None = None  # a worker process has one, for all its tasks


def _begin() -> None:
    """First of all in a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches every process: no tracebacks
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed cannot tell; its workers must not wait for it for ever."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _score_task(scorer: WorkerScorer, task: ShardTask) -> Step:
    global _scorer
    if _scorer is None:
        # Here and not in the beginning: what goes wrong must reach who waits, and not look like a process that died.
        _scorer = scorer.open()
    return score_whole(_scorer, task)
