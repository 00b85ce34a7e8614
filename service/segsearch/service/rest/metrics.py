"""What the edge counts, in Prometheus' text format and base units. Each application has a registry of its own.

Where it stands: `exchange` reports every answer, `routes` what was scored, the scorer counts its own queue; the index
is asked when somebody scrapes.
"""

from collections.abc import Iterator
from importlib.metadata import version
from typing import Final

from prometheus_client import CollectorRegistry, Counter, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from segsearch.core.errors import NoGeneration
from segsearch.service.answer_counts import AnswerCounts
from segsearch.service.ended_connections import ENDED, Why
from segsearch.service.library import SegmentLibrary
from segsearch.service.scoring.batching_scorer import BatchingScorer

MEDIA_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
UNROUTED: Final = "unknown"  # one name for every path that leads nowhere: a caller must not make up time series
# From an answer out of memory to a long video on a busy processor.
_BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The metrics of one application."""

    def __init__(self, library: SegmentLibrary, everywhere: Collector | None = None):
        """everywhere: the metrics of all processes that answer as one with this, which is one of them."""
        self.registry = CollectorRegistry()
        self._shown = everywhere or self.registry
        self._answers = AnswerCounts(
            "http_request", ("route", "status"), _BUCKETS_S,
            meaning="Answered requests; status 0: the client left.", time="From a request's head to its answer's end.",
        )  # fmt: skip
        self.registry.register(self._answers)
        self.refusals = Counter(
            "segsearch_refusals", "Requests answered with a problem, by its code.", ("reason",), registry=self.registry
        )
        self.scored_segments = Counter("segsearch_scored_segments", "Segments scored.", registry=self.registry)
        ProcessCollector(registry=self.registry)
        self.registry.register(_Ended())
        self.registry.register(_InUse(library))
        if isinstance(library.scorer, BatchingScorer):  # bundles come and go, what is counted goes on
            for each in library.scorer.metrics.all:
                self.registry.register(each)

    def answered(self, route: str | None, status: int, problem: str | None, seconds: float) -> None:
        """Counts one answer."""
        self._answers.count(route or UNROUTED, str(status), seconds)
        if problem is not None:
            self.refusals.labels(problem).inc()

    def text(self) -> bytes:
        """All of them, as Prometheus scrapes them."""
        return generate_latest(self._shown)


class _Ended(Collector):
    """What connections count."""

    def collect(self) -> Iterator[Metric]:
        """See Collector."""
        meaning = "Connections that the server ended by itself."
        family = CounterMetricFamily("segsearch_connections_ended", meaning, labels=["reason"])
        for why in Why:
            family.add_metric([why], ENDED[why])
        yield family


class _InUse(Collector):
    """What answers right now: which generation, which bundle, which release."""

    def __init__(self, library: SegmentLibrary):
        self._library = library

    def collect(self) -> Iterator[Metric]:
        """See Collector."""
        bundle = self._library.scorer.bundle
        name = {"name": bundle.manifest.name, "version": str(bundle.manifest.version), "digest": bundle.digest}
        yield _info("segsearch_bundle", "The bundle that scores uploads.", name)
        failed = self._library.refused_load is not None
        yield GaugeMetricFamily("segsearch_model_load_failed", "1: the last load of a bundle was refused.", int(failed))
        yield _info("segsearch_build", "The release that runs.", {"version": version("segsearch")})
        try:
            view = self._library.view()
        except NoGeneration:
            return  # a server without an index is a state, not a failure of its metrics
        manifest, scored_by = view.manifest, view.manifest.bundle
        yield _info(
            "segsearch_generation", "The generation that answers, and the bundle that scored it.",
            {"number": str(manifest.number), "bundle": scored_by.name, "bundle_version": str(scored_by.version),
             "bundle_digest": scored_by.digest},
        )  # fmt: skip
        yield GaugeMetricFamily("segsearch_generation_segments", "Segments in it.", manifest.segment_count)
        yield GaugeMetricFamily("segsearch_generation_videos", "Videos in it.", manifest.video_count)
        yield GaugeMetricFamily("segsearch_live_segments", "Segments uploaded since.", int(view.delta.alive.sum()))
        yield GaugeMetricFamily("segsearch_live_bytes", "What their scores take in memory.", view.delta.codes.nbytes)
        yield GaugeMetricFamily(
            "segsearch_hidden_videos", "Its videos replaced or deleted since.", int(view.hidden.sum())
        )
        yield GaugeMetricFamily("segsearch_live_sequence", "Number of the last upload or deletion.", view.sequence)


def _info(name: str, meaning: str, labels: dict[str, str]) -> GaugeMetricFamily:
    """A gauge that is always 1 and tells by its labels."""
    family = GaugeMetricFamily(f"{name}_info", meaning, labels=list(labels))
    family.add_metric(list(labels.values()), 1)
    return family
