"""Answers by what was asked and how each ended, and how long they took, as Prometheus scrapes them.

Where it stands: both edges count by it, in `rest.metrics` and `rpc.metrics`. It is Prometheus' counter and histogram in
one, for a third of their time: with theirs to count an answer at hand would cost more than to find it.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from itertools import accumulate
from threading import Lock
from typing import Final

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_TOGETHER: Final = 256  # answers, which are counted in a third of the time that they would take one by one


class AnswerCounts(Collector):
    """Two metrics: `<name>s` counts, `<name>_duration_seconds` measures. Any number of threads may count."""

    def __init__(self, name: str, labels: tuple[str, str], bounds_s: tuple[float, ...], *, meaning: str, time: str):
        """name: such as `grpc_request`. labels: of what was asked and how it ended. bounds_s: of the times' buckets.
        meaning, time: what is counted, and measured.
        """
        self._name, self._labels, self._bounds_s = f"segsearch_{name}", labels, bounds_s
        self._meaning, self._time = meaning, time
        self._new: deque[tuple[str, str, float]] = deque()  # not counted yet
        self._lock = Lock()  # of all that follows, and of taking from `_new`
        self._tallies: dict[tuple[str, str], list[int]] = {}  # by bucket; the last one has no bound
        self._seconds: dict[str, float] = {}

    def count(self, asked: str, ended: str, seconds: float) -> None:
        """One answer."""
        self._new.append((asked, ended, seconds))
        if len(self._new) >= _TOGETHER:
            with self._lock:
                self._count_new()

    def collect(self) -> Iterator[Metric]:
        """See Collector."""
        with self._lock:
            self._count_new()
            tallies = {key: tally.copy() for key, tally in self._tallies.items()}
            seconds = self._seconds.copy()
        counted = CounterMetricFamily(f"{self._name}s", self._meaning, labels=self._labels)
        for key, tally in tallies.items():
            counted.add_metric(key, sum(tally))
        yield counted
        timed = HistogramMetricFamily(f"{self._name}_duration_seconds", self._time, labels=self._labels[:1])
        bounds = [*map(str, self._bounds_s), "+Inf"]
        for asked, taken_s in seconds.items():
            counts = map(sum, zip(*(tally for key, tally in tallies.items() if key[0] == asked), strict=True))
            timed.add_metric((asked,), list(zip(bounds, accumulate(counts), strict=True)), taken_s)
        yield timed

    def _count_new(self) -> None:
        for _ in range(len(self._new)):
            asked, ended, seconds = self._new.popleft()
            tally = self._tallies.get((asked, ended))
            if tally is None:
                tally = self._tallies[asked, ended] = [0] * (len(self._bounds_s) + 1)
            tally[bisect_left(self._bounds_s, seconds)] += 1
            self._seconds[asked] = self._seconds.get(asked, 0.0) + seconds
