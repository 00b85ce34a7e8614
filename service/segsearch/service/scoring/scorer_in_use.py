"""The scorer in use, which another one may replace while videos are being scored.

Where it stands: `library` scores through it. What was begun ends on the scorer that it was begun on; a replaced one is
closed when its last video is done. Of each scorer it is noted how its last videos went: that is what readiness tells.
"""

import ctypes
import logging
import math
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import numpy as np

from segsearch.core.bundle import Bundle
from segsearch.core.errors import DeadlinePassed, QueueFull
from segsearch.service.events import log
from segsearch.service.scoring.scorer import NOBODY, Caller, QueueingScorer, Scorer, Scores, submitted

FAILURES: Final = 3  # videos in a row: then a scorer counts as failing, until one is scored
_TRY_EVERY_S: Final = 10.0


@runtime_checkable
class Closable(Protocol):
    """A scorer that has something to close."""

    def close(self) -> None:
        """Nothing can be scored afterwards."""


@dataclass(eq=False, slots=True)
class _Lease:
    scorer: Scorer
    queue: QueueingScorer | None  # the same, where it has one
    users: int = 0  # videos under way
    replaced: bool = False
    failed: int = 0  # videos, since the last one that was scored
    tried_s: float = -math.inf  # when it was last tried as nobody else may have sent a video


class ScorerInUse:
    """Methods may be called from any number of threads."""

    def __init__(self, scorer: Scorer, *, try_every_s: float = _TRY_EVERY_S):
        """try_every_s: how often a failing one is tried by `works`."""
        self._lock, self._try_every_s = threading.Lock(), try_every_s
        self._lease = _leased(scorer)

    @property
    def scorer(self) -> Scorer:
        with self._lock:  # a lease that was replaced may lose its scorer at any time; the one in use never does
            return self._lease.scorer

    def check_room(self, caller: Caller) -> None:
        """Raises QueueFull where a video of this caller's would find no room now."""
        with self._lock:
            queue = self._lease.queue
        if queue is not None:
            queue.check_room(caller)

    def begin(self, frames: np.ndarray, caller: Caller = NOBODY) -> tuple[Bundle, Future[Scores]]:
        """Hands a video in, frames (T, F) uint8: whose model scores it, and its scores to come. Raises QueueFull."""
        with self._lock:
            lease = self._lease
            lease.users += 1
        scorer = lease.scorer
        try:
            scores = submitted(scorer, frames, caller)
        except BaseException:
            self._leave(lease)
            raise
        scores.add_done_callback(lambda done: self._over(lease, done))
        return scorer.bundle, scores

    def works(self) -> bool:
        """False where the scorer has failed with the last videos, whoever sent them.

        Such a one is given the shortest of its golden videos now and then, or nobody would hear that it works again:
        whoever heeds readiness uploads nothing.
        """
        with self._lock:
            lease, now_s = self._lease, time.monotonic()
            if lease.failed < FAILURES:
                return True
            is_due = now_s >= lease.tried_s + self._try_every_s
            if is_due:
                lease.tried_s = now_s
        if is_due:
            with suppress(QueueFull):  # there are others to try it with
                self.begin(min(self.scorer.bundle.manifest.golden.videos(), key=len))
        return False

    @contextmanager
    def held(self) -> Iterator[Scorer]:
        """The one in use, which stays open while the block lasts."""
        with self._lock:
            lease = self._lease
            lease.users += 1
        try:
            yield lease.scorer
        finally:
            self._leave(lease)

    def replace(self, scorer: Scorer) -> None:
        """From now on videos go to this one."""
        with self._lock:
            lease, self._lease = self._lease, _leased(scorer)
            lease.replaced = True
            unused = not lease.users
        if unused:
            _let_go(lease)

    def close(self) -> None:
        """Closes the scorer in use; nothing can be scored afterwards."""
        _close(self.scorer)

    def _over(self, lease: _Lease, scores: Future[Scores]) -> None:
        # Who left, or came too late, says nothing of the model.
        if not scores.cancelled() and not isinstance(error := scores.exception(), DeadlinePassed):
            self._note(lease, error)
        self._leave(lease)

    def _note(self, lease: _Lease, error: BaseException | None) -> None:
        """How a video went."""
        with self._lock:
            before = lease.failed
            lease.failed = 0 if error is None else before + 1
        if error is None and before >= FAILURES:
            log("scoring_works_again", videos=before)
        elif error is not None and before + 1 == FAILURES:
            log("scoring_fails", level=logging.ERROR, videos=FAILURES, reason=f"{type(error).__name__}: {error}")

    def _leave(self, lease: _Lease) -> None:
        with self._lock:
            lease.users -= 1
            unused = lease.replaced and not lease.users
        if unused:
            # Its own thread may be the one that has just delivered the last scores: that one cannot wait for itself.
            threading.Thread(target=_let_go, args=(lease,), name="closing").start()


def _leased(scorer: Scorer) -> _Lease:
    return _Lease(scorer, scorer if isinstance(scorer, QueueingScorer) else None)  # slow to tell: not at each request


def _let_go(lease: _Lease) -> None:
    """Closes a scorer that nobody will ask for again, and gives its memory back to the system."""
    _close(lease.scorer)
    del lease.scorer, lease.queue
    # Else the C library keeps what a thread took and freed, for that thread: a model for each that loaded one.
    with suppress(AttributeError):  # a C library that has no such function
        ctypes.CDLL(None).malloc_trim(0)


def _close(scorer: Scorer) -> None:
    if isinstance(scorer, Closable):
        scorer.close()
