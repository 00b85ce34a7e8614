"""From a bundle to an engine: a model opened, proved on the golden videos, and tuned to the machine.

Where it stands: `onnx_scorer` calls this once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from segsearch.core.bundle import Bundle, Graph, Precision
from segsearch.core.errors import ConfigError
from segsearch.core.progress import say
from segsearch.service.scoring import tuning_file
from segsearch.service.scoring.engine import Engine
from segsearch.service.scoring.golden_check import check_golden
from segsearch.service.scoring.machine import core_count
from segsearch.service.scoring.model import Model, open_model
from segsearch.service.scoring.provider import ProviderChoice, device_of
from segsearch.service.scoring.trials import Trials
from segsearch.service.scoring.tuning import (
    BATCH_LIMIT,
    DEFAULT_BATCH,
    RUNS_LIMIT,
    Best,
    Tuning,
    batches,
    candidates,
    search,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What is asked of an engine.

    batch: segments in one run; a model that takes whole videos may be given some more; 0 searches for the best, with
    the number of sessions and threads, and remembers it in `cache`. threads: runs at a time; 0 takes one for each core,
    or what the search finds. precision: which of the bundle's models. tuning: one known to be good, as a model
    of its kind runs so; then neither `batch` nor `threads` is looked at.
    """

    batch: int = DEFAULT_BATCH
    threads: int = 0
    provider: ProviderChoice = "auto"
    precision: Precision = "float32"
    cache: Path | None = None
    tuning: Tuning | None = None

    def __post_init__(self) -> None:
        ConfigError.check_range("batch", self.batch, 0, BATCH_LIMIT)
        ConfigError.check_range("threads", self.threads, 0, RUNS_LIMIT)


def open_engine(bundle: Bundle, wishes: Wishes) -> Engine:
    """Raises BundleRefused unless the model reproduces the bundle's golden videos, ConfigError for a provider that was
    demanded and cannot be had.
    """
    graph = bundle.graph(wishes.precision)
    open_for = partial(_proved, bundle, graph, wishes.provider)
    plain = wishes.tuning or Tuning(wishes.batch or DEFAULT_BATCH, wishes.threads or core_count())
    model = open_for(plain)
    if wishes.tuning or wishes.batch:
        return Engine(model, plain)
    trials = Trials(model, plain, open_for, bundle.manifest.features.size)
    tuning = _tuning(bundle, graph, wishes, model.provider, trials)
    return Engine(trials.model_for(tuning), tuning)


def _proved(bundle: Bundle, graph: Graph, provider: ProviderChoice, tuning: Tuning) -> Model:
    model = open_model(bundle, graph, provider, threads=tuning.threads, sessions=tuning.sessions)
    check_golden(bundle, graph, model)
    return model


def _tuning(bundle: Bundle, graph: Graph, wishes: Wishes, provider: str, measure: Callable[[Tuning], float]) -> Tuning:
    """What was found before, or what is found now."""
    facts = tuning_file.facts_of(bundle, wishes.precision, provider, wishes.threads)
    known = tuning_file.recall(wishes.cache, facts) if wishes.cache else None
    if known is not None:
        return known
    found = _searched(wishes.threads, bundle.path_of(graph).stat().st_size, provider, measure)
    if wishes.cache:
        tuning_file.remember(wishes.cache, facts, found)
    return found.tuning


def _searched(runs: int, model_bytes: int, provider: str, measure: Callable[[Tuning], float]) -> Best:
    on_device = device_of(provider) is not None
    best = search(
        candidates(core_count(), runs, model_bytes, on_device=on_device), batches(on_device=on_device), measure
    )
    tuning = best.tuning
    say(f"tuned to this machine: {tuning.batch} segments in a run, {tuning.runs} runs at a time, {tuning.threads} "
        f"threads in each, {tuning.sessions} sessions: {best.segments_per_s:,.0f} segments/s")  # fmt: skip
    return best
