"""How a machine scores fastest: segments in a run, runs at a time, threads inside each, sessions they share.

Where it stands: `engine` works as a `Tuning` says, `trials` measures, `tuning_file` remembers. What is best differs
from machine to machine by more than any constant could cover, so it is searched for, in a few seconds.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from segsearch.core.errors import ConfigError

DEFAULT_BATCH: Final = 32
BATCH_LIMIT: Final = 4096
RUNS_LIMIT: Final = 1024
BUDGET_S: Final = 8.0
WORTH_IT: Final = 1.03  # less of a gain is noise, and the plainer tuning stays
MEMORY_BYTES: Final = 1 << 30  # of models, that more than one session may take
_BATCHES: Final = (16, 64, 128, 256)
_DEVICE_BATCHES: Final = (128, 256, 512, 1024)


@dataclass(frozen=True, slots=True)
class Tuning:
    """How a model is run."""

    batch: int  # segments in a run
    runs: int  # at a time
    threads: int = 1  # inside a run
    sessions: int = 1  # copies of the model that runs take in turn

    def __post_init__(self) -> None:
        limits = {"batch": BATCH_LIMIT, "runs": RUNS_LIMIT, "threads": RUNS_LIMIT, "sessions": RUNS_LIMIT}
        for field, highest in limits.items():
            ConfigError.check_range(field, getattr(self, field), 1, highest)

    def with_batch(self, batch: int) -> "Tuning":
        return Tuning(batch, self.runs, self.threads, self.sessions)

    def opens_as(self, other: "Tuning") -> bool:
        """Whether a model opened for one of the two serves the other."""
        return (self.threads, self.sessions) == (other.threads, other.sessions)


@dataclass(frozen=True, slots=True)
class Best:
    """What a search found."""

    tuning: Tuning
    segments_per_s: float


def candidates(cores: int, runs: int, model_bytes: int, *, on_device: bool) -> Sequence[Tuning]:
    """The tunings to try, the plainest first. runs: as many at a time as asked for; 0 leaves it open."""
    batch = _DEVICE_BATCHES[0] if on_device else DEFAULT_BATCH
    if on_device:  # one run fills it; a second one hides copying behind it
        return [Tuning(batch, each) for each in ([runs] if runs else [1, 2])]
    plain = Tuning(batch, runs or cores)  # one session, one thread in a run
    found = [plain]
    if 1 < plain.runs <= MEMORY_BYTES // max(1, model_bytes):
        found.append(Tuning(batch, plain.runs, sessions=plain.runs))
    if not runs:
        found += [Tuning(batch, max(1, cores // threads), threads) for threads in _doubling(cores)]
    return found


def batches(*, on_device: bool) -> Sequence[int]:
    """Sizes to try once it is known how runs share the machine."""
    return _DEVICE_BATCHES if on_device else _BATCHES


def search(
    tunings: Sequence[Tuning],
    sizes: Sequence[int],
    measure: Callable[[Tuning], float],
    budget_s: float = BUDGET_S,
    clock: Callable[[], float] = time.monotonic,
) -> Best:
    """The fastest of these tunings, then the fastest batch for it; what comes late and the budget no longer allows is
    left untried.

    measure: segments a second; a tuning must win by more than noise to replace one that stands before it.
    """
    end = clock() + budget_s
    best = Best(tunings[0], measure(tunings[0]))
    for tuning in tunings[1:]:
        best = _better(best, tuning, measure) if clock() < end else best
    for tuning in [best.tuning.with_batch(size) for size in sizes if size != best.tuning.batch]:
        best = _better(best, tuning, measure) if clock() < end else best
    if best.tuning == tunings[0]:
        return best
    # Others may have been at work while the plainest was tried: it gets a second chance against what is left.
    return _better(Best(tunings[0], measure(tunings[0])), best.tuning, measure)


def _better(best: Best, tuning: Tuning, measure: Callable[[Tuning], float]) -> Best:
    rate = measure(tuning)
    return Best(tuning, rate) if rate > best.segments_per_s * WORTH_IT else best


def _doubling(cores: int) -> Iterator[int]:
    """2, 4, 8 ... and the cores themselves."""
    threads = 2
    while threads < cores:
        yield threads
        threads *= 2
    if cores > 1:
        yield cores
