"""What is counted of rpcs, beside what `rest.metrics` counts of requests and in the same registry."""

from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram

# From an answer out of memory to a long video on a busy processor.
_BUCKETS_S: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 60.0)


class Metrics(Protocol):
    """What a process counts at whichever edge."""

    registry: CollectorRegistry
    refusals: Counter  # by reason
    scored_segments: Counter


class RpcMetrics:
    """The metrics of one gRPC server."""

    def __init__(self, metrics: Metrics):
        self._refusals, self.scored_segments = metrics.refusals, metrics.scored_segments
        self._calls = Counter(
            "segsearch_grpc_requests", "Answered rpcs; CANCELLED: the client left.", ("method", "code"),
            registry=metrics.registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "segsearch_grpc_request_duration_seconds", "From an rpc's begin to its answer.", ("method",),
            buckets=_BUCKETS_S, registry=metrics.registry,
        )  # fmt: skip
        self._series: dict[tuple[str, str], tuple[Counter, Histogram]] = {}  # that `answered` counts in

    # Finding a series by its labels costs more than to count.
    def answered(self, method: str, code: str, problem: str | None, seconds: float) -> None:
        """Counts one answer."""
        series = self._series.get((method, code))
        if series is None:
            series = self._series[method, code] = self._calls.labels(method, code), self._seconds.labels(method)
        series[0].inc()
        series[1].observe(seconds)
        if problem is not None:
            self._refusals.labels(problem).inc()
