"""What is counted of rpcs, beside what `rest.metrics` counts of requests and in the same registry."""

from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter

from segsearch.service.answer_counts import AnswerCounts

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
        self._answers = AnswerCounts(
            "grpc_request", ("method", "code"), _BUCKETS_S, meaning="Answered rpcs; CANCELLED: the client left.",
            time="From an rpc's begin to its answer.",
        )  # fmt: skip
        metrics.registry.register(self._answers)

    def answered(self, method: str, code: str, problem: str | None, seconds: float) -> None:
        """Counts one answer."""
        self._answers.count(method, code, seconds)
        if problem is not None:
            self._refusals.labels(problem).inc()
