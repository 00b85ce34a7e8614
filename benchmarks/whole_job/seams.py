"""Clocks at the seams of a reindex: the scorer, which takes videos and gives blocks of codes, and the selection.

Where it stands: `job` puts them in place, and makes stages of what they note.
"""

import resource
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from segsearch.service.index.kernel_selection import Selector
from segsearch.service.jobs import reindex as reindexing
from segsearch.service.scoring.scorer import Scorer

Item = TypeVar("Item")


@dataclass(slots=True)
class Spent:
    """Seconds by the clock and of the processor; used as `with spent.timing(clock):`."""

    wall_s: float = 0.0
    cpu_s: float = 0.0

    @contextmanager
    def timing(self, clock: Callable[[], float]) -> Iterator[None]:
        """clock: `time.thread_time` beside other threads, `all_cpu` to count them too."""
        wall, cpu = time.perf_counter(), clock()
        try:
            yield
        finally:
            self.wall_s += time.perf_counter() - wall
            self.cpu_s += clock() - cpu

    def without(self, *parts: "Spent") -> "Spent":
        return Spent(self.wall_s - sum(part.wall_s for part in parts), self.cpu_s - sum(part.cpu_s for part in parts))


@dataclass(slots=True)
class Clocks:
    """What the seams of one reindex have measured, on the thread that called it unless said otherwise."""

    read: Spent = field(default_factory=Spent)
    wait: Spent = field(default_factory=Spent)  # for blocks of codes, laying batches out included
    select: Spent = field(default_factory=Spent)
    reading_codes: Spent = field(default_factory=Spent)
    rank: Spent = field(default_factory=Spent)  # all threads
    began: tuple[float, float, float] = field(default_factory=lambda: now())
    selected: tuple[float, float, float] = (0.0, 0.0, 0.0)  # when the last segment had been selected
    curve: list[tuple[int, float]] = field(default_factory=list)

    def stream(self) -> tuple[Spent, float]:
        """What this thread spent until everything was selected, and the CPU seconds of all threads."""
        wall, own, everyone = (after - before for before, after in zip(self.began, self.selected, strict=True))
        return Spent(wall, own), everyone


def now() -> tuple[float, float, float]:
    return time.perf_counter(), time.thread_time(), all_cpu()


def all_cpu() -> float:
    """CPU seconds of this process, and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


class TimedScorer:
    """A scorer that notes how long it is about handing out blocks, and how long of that about being handed videos."""

    def __init__(self, scorer: Scorer, clocks: Clocks):
        self._scorer, self._clocks = scorer, clocks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scorer, name)

    def codes(self, videos: Iterable[np.ndarray], *, by_class: bool = False) -> Iterator[np.ndarray]:
        frames = _timed(videos, self._clocks.read, time.thread_time)
        return _timed(self._scorer.codes(frames, by_class=by_class), self._clocks.wait, time.thread_time)


class TimedSelector:
    """A selection that notes how long it takes, and what one pass over the same codes would have taken."""

    def __init__(self, selector: Selector, clocks: Clocks):
        self._selector, self._clocks, self._segments = selector, clocks, 0

    def add_by_class(self, codes: np.ndarray) -> None:
        clocks = self._clocks
        with clocks.select.timing(time.thread_time):
            self._selector.add_by_class(codes)
        with clocks.reading_codes.timing(time.thread_time):
            codes.max(initial=0)
        self._segments += codes.shape[1]
        so_far = all_cpu() - clocks.began[2] - clocks.reading_codes.cpu_s
        clocks.curve.append((self._segments, so_far))

    def ranked(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        self._clocks.selected = now()
        return _timed(self._selector.ranked(), self._clocks.rank, all_cpu)


def _timed(items: Iterable[Item], spent: Spent, clock: Callable[[], float]) -> Iterator[Item]:
    """The same items, with what it takes to come by them noted."""
    source = iter(items)
    while True:
        with spent.timing(clock):
            item = next(source, None)
        if item is None:
            return
        yield item


@contextmanager
def timed_selection(clocks: Clocks) -> Iterator[None]:
    """Inside, reindex gets selections that are timed."""
    selection_for = reindexing.selection_for
    reindexing.selection_for = lambda *args, **named: TimedSelector(selection_for(*args, **named), clocks)
    try:
        yield
    finally:
        reindexing.selection_for = selection_for
