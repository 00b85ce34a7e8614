"""Puts one process that serves together: library, edges, and what goes on beside them.

Where it stands: `serve_cli` runs it alone, `worker` as one of several.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from prometheus_client.registry import Collector
from starlette.types import ASGIApp

from segsearch.core.bundle import Bundle
from segsearch.core.errors import NoGeneration
from segsearch.service.index.format import LIVE
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.live.store import LiveStore
from segsearch.service.jobs.background_compaction import BackgroundCompaction, CompactAt
from segsearch.service.jobs.catching_up import CatchingUp
from segsearch.service.jobs.reindex_process import ReindexJobs
from segsearch.service.library import SegmentLibrary
from segsearch.service.processes.plan import Plan
from segsearch.service.refused_load import LastLoad
from segsearch.service.rest.app import build
from segsearch.service.rest.metrics import Metrics
from segsearch.service.scoring.batching_scorer import BatchingScorer
from segsearch.service.scoring.bundle_folder import BundleFolder
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from segsearch.service.scoring.queue_metrics import QueueMetrics
from segsearch.service.scoring.signed import open_signed
from segsearch.service.scoring.tuning import Tuning
from segsearch.service.security.guard import Guard
from segsearch.service.security.rate_limit import Buckets
from segsearch.service.server import Announce, Companion, announce, serve_until_stopped, tls_context
from segsearch.service.tracing.opening import open_traces
from segsearch.service.tracing.trace import Traces


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """What a process has in common with others that answer as one with it."""

    load: Callable[[str], None]  # a bundle into all of them; raises ModelNotLoaded
    last_load: LastLoad  # of whichever of them was asked for it
    metrics: Collector  # of all of them
    buckets: Buckets  # that they all spend from


@dataclass(frozen=True, slots=True, eq=False)
class Serving:
    """All that one process answers with."""

    plan: Plan
    library: SegmentLibrary
    metrics: Metrics
    app: ASGIApp
    rpc: Companion | None
    traces: Traces | None

    def until_stopped(self, ready: Announce = announce, *, compacts: bool = True, shares_port: bool = False) -> None:
        """See `server.serve_until_stopped`. compacts: whether this process looks after that."""
        settings, library = self.plan.settings, self.library
        compact_at = CompactAt(settings.compact_at_rows, settings.compact_at_deleted)
        compaction = BackgroundCompaction(
            library.index, library.view, compact_at, keep_generations=settings.keep_generations
        )
        with ExitStack() as stack:
            if self.plan.live and compacts:
                stack.enter_context(compaction)
                stack.enter_context(CatchingUp(library.catch_up))
            serve_until_stopped(self.app, settings, self._drain, self.rpc, ready, shares_port=shares_port)

    def _drain(self) -> None:
        self.library.drain()
        if self.traces is not None:
            self.traces.drain()


@contextmanager
def assembled(plan: Plan, crew: Crew | None = None) -> Iterator[Serving]:
    """All that comes before listening. Raises what is wrong with settings, keys, certificates, index or bundle."""
    settings = plan.settings
    tls_context(settings)
    if not plan.index.is_dir():
        raise NoGeneration(plan.index)  # an empty index may fill later; a wrong path never will
    with open_traces(settings) as traces, _library(plan, crew) as library:
        guard = Guard.of(settings, crew.buckets if crew else None)
        metrics = Metrics(library, crew.metrics if crew else None)
        app, rpc = build(library, settings, guard, metrics, traces), None
        if settings.grpc_port is not None:
            from segsearch.service.rpc.server import RpcServer

            rpc = RpcServer(library, settings, guard, metrics, shares_port=crew is not None, traces=traces)
        yield Serving(plan, library, metrics, app, rpc, traces)


@contextmanager
def _library(plan: Plan, crew: Crew | None) -> Iterator[SegmentLibrary]:
    settings, counted = plan.settings, QueueMetrics()

    def open_scorer(bundle: Bundle, tuning: Tuning | None = None) -> BatchingScorer:
        plain = OnnxScorer(
            bundle, batch=plan.batch, threads=plan.threads, provider=plan.provider, precision=plan.precision,
            cache=plan.cache, tuning=tuning,
        )  # fmt: skip
        return BatchingScorer(
            plain, queue_frames=settings.queue_frames, batch_wait_ms=settings.batch_wait_ms, metrics=counted
        )

    with ExitStack() as stack:
        opened = open_signed(plan.bundle, settings.bundle_key)
        scorer = stack.enter_context(open_scorer(opened))
        space = opened.manifest.features.space
        store = stack.enter_context(LiveStore.open(plan.index / LIVE, space)) if plan.live else None
        directory = IndexDirectory(plan.index)
        loadable = BundleFolder(settings.bundles, open_scorer, settings.bundle_key) if settings.bundles else None
        jobs = ReindexJobs(directory, settings.data, loadable, _as_here(plan)) if settings.data else None
        library = SegmentLibrary(
            scorer, directory, store, bundles=loadable, jobs=jobs, load_in_all=crew.load if crew else None,
            last_load=crew.last_load if crew else None,
        )  # fmt: skip
        stack.callback(library.close)
        yield library


def _as_here(plan: Plan) -> list[str]:
    """Options of `segsearch reindex` by which a job scores, and keeps older generations, as this server does."""
    options = {
        "--frame-limit": plan.settings.frame_limit, "--batch": plan.batch, "--threads": plan.threads,
        "--provider": plan.provider, "--precision": plan.precision, "--cache": plan.cache,
        "--keep-generations": plan.settings.keep_generations,
        **({"--bundle-key": plan.settings.bundle_key} if plan.settings.bundle_key else {}),
    }  # fmt: skip
    return [str(part) for option in options.items() for part in option]
