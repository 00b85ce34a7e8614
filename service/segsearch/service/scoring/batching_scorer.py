"""A scorer that many callers share: their videos wait in one queue, and go through the model together.

Where it stands: `fair_queue` says who is next, this file has the threads; `onnx_scorer` brings the model, and is the
plain twin: a video's scores are the same as alone, up to the rounding that other batch mates bring.

T frames, F codes a frame, S segments, C classes, H embedding size.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from types import TracebackType
from typing import Final

import numpy as np

from segsearch.core.bundle import Bundle, Precision
from segsearch.core.errors import DeadlinePassed, QueueFull, ScoringFailed
from segsearch.core.segments import SEGMENT_FRAMES, segment_count, segment_starts
from segsearch.service.events import log
from segsearch.service.scoring.fair_queue import FairQueue, Taken, Waiting
from segsearch.service.scoring.onnx_scorer import SMALLEST_PIECE, OnnxScorer
from segsearch.service.scoring.queue_metrics import QueueMetrics
from segsearch.service.scoring.scorer import NOBODY, Caller, Scores, awaited
from segsearch.service.scoring.trials import PIECE_SEGMENTS
from segsearch.service.scoring.tuning import Tuning
from segsearch.service.settings import BATCH_WAIT_MS, QUEUE_FRAMES
from segsearch.service.stepping_back import step_back
from segsearch.service.tracing.trace import add_run

_RETRY_CAP_S: Final = 60
_SMOOTHING: Final = 0.1  # of the rate that is measured: about the last ten runs count


class BatchingScorer:
    """A `QueueingScorer` over a model of a bundle, which it owns: use it as a context manager, or `close` it."""

    def __init__(
        self,
        scorer: OnnxScorer,
        *,
        queue_frames: int = QUEUE_FRAMES,
        batch_wait_ms: int = BATCH_WAIT_MS,
        metrics: QueueMetrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """queue_frames: how many may wait or be scored. batch_wait_ms: how long a video waits for others to share its
        batch while nothing else is to be done. metrics: where to count, if that goes on from a scorer before this one.
        """
        self._scorer, self._model, self._clock = scorer, scorer.model, clock
        self._batch_wait_s, self.metrics = batch_wait_ms / 1000, metrics or QueueMetrics()
        self._changed = threading.Condition()  # its lock guards all that follows
        self._queue = FairQueue(queue_frames)
        # Not in the callback that asks for it: a video and its scores would hold each other, and the model, for long.
        self._under_way: dict[Future[Scores], Waiting] = {}
        self._due_s = 0.0  # when the next batch is run, full or not
        self._idle = 0  # threads without work
        self._frames_per_s = 0.0  # of one thread; 0: not known yet
        self._closing = False
        runs = range(scorer.tuning.runs)
        self._threads = [threading.Thread(target=self._work, name=f"scoring-{n}", daemon=True) for n in runs]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> "BatchingScorer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Scores what was taken in, then ends threads and model; nothing can be scored afterwards."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._scorer.close()

    @property
    def bundle(self) -> Bundle:
        return self._scorer.bundle

    @property
    def provider(self) -> str:
        return self._scorer.provider

    @property
    def precision(self) -> Precision:
        """Which of the bundle's models runs."""
        return self._scorer.precision

    @property
    def tuning(self) -> Tuning:
        """How it runs."""
        return self._scorer.tuning

    def score(self, frames: np.ndarray, caller: Caller = NOBODY) -> Scores:
        """Scores of one video: frames (T, F) uint8, T at least 1. Raises QueueFull, DeadlinePassed,
        ScoringFailed.
        """
        return awaited(self.submit(frames, caller), caller)

    def codes(self, videos: Iterable[np.ndarray], *, by_class: bool = False) -> Iterator[np.ndarray]:
        """See `Scorer`: of whole libraries, past the queue."""
        return self._scorer.codes(videos, by_class=by_class)

    def check_room(self, caller: Caller) -> None:
        """See `QueueingScorer`."""
        with self._changed:
            self._check_room(caller, 1)

    def submit(self, frames: np.ndarray, caller: Caller = NOBODY) -> Future[Scores]:
        """See `QueueingScorer`. A deadline that passes before a run takes the video is its result."""
        with self._changed:
            if self._closing:
                raise RuntimeError("this scorer is closed")
            self._check_room(caller, len(frames))
            now_s, pieces = self._clock(), self._model.pieces(frames, self._piece_segments(len(frames)))
            waiting = Waiting(frames, deque(pieces), caller, now_s)
            if not self._queue.segments:
                self._due_s = now_s + self._batch_wait_s
            self._queue.put(waiting)
            self._under_way[waiting.scores] = waiting
            self.metrics.frames.inc(len(frames))
            self.metrics.videos.inc()
            self._changed.notify_all()
        waiting.scores.add_done_callback(self._left)
        return waiting.scores

    def _check_room(self, caller: Caller, frame_count: int) -> None:
        if not self._queue.has_room(caller.client, frame_count):
            self.metrics.dropped.labels("full").inc()
            raise QueueFull(self._queue.frames, self._queue.limit_frames, self._retry_after_s())

    def _retry_after_s(self) -> int:
        """When what waits now will be done, by the rate of the last runs."""
        rate = self._frames_per_s * len(self._threads)
        return min(_RETRY_CAP_S, max(1, math.ceil(self._queue.frames / rate))) if rate else 1

    def _piece_segments(self, frame_count: int) -> int:
        """A video is cut where it would keep a run for too long, or where threads are idle that can share it."""
        limit = max(self.tuning.batch, PIECE_SEGMENTS)
        if self._queue.segments or self._idle < 2:  # others are there to keep them busy
            return limit
        return min(limit, max(SMALLEST_PIECE, -(-segment_count(frame_count) // self._idle)))

    def _left(self, scores: Future[Scores]) -> None:
        """Makes room, as soon as scores are there or nobody wants them."""
        with self._changed:
            waiting = self._under_way.pop(scores)
            self._queue.leave(waiting)
        self.metrics.frames.dec(len(waiting.frames))
        self.metrics.videos.dec()
        if scores.cancelled():
            self.metrics.dropped.labels("left").inc()

    # Threads

    def _work(self) -> None:
        step_back()
        while taken := self._next():
            self._run(taken)

    def _next(self) -> list[Taken]:
        """Waits for a batch that is full or due; none once the scorer is closed and the queue empty."""
        with self._changed:
            while not self._is_due():
                if self._closing and not self._queue.segments:
                    return []
                self._idle += 1
                self._changed.wait(max(0.0, self._due_s - self._clock()) if self._queue.segments else None)
                self._idle -= 1
            return self._queue.take(self.tuning.batch)

    def _is_due(self) -> bool:
        waits = self._queue.segments
        return waits > 0 and (waits >= self.tuning.batch or self._closing or self._clock() >= self._due_s)

    def _run(self, taken: Sequence[Taken]) -> None:
        """Scores a batch; where that fails, each video by itself, so that none fails for another's sake."""
        taken = [each for each in taken if self._is_wanted(each)]
        if len(taken) > 1:
            try:
                self._score(taken)
            except Exception as error:  # a bug, too: it may be one video's
                self._tell_failed(taken, error)
            else:
                return
        for each in taken:
            self._run_alone(each)

    def _run_alone(self, taken: Taken) -> None:
        """Scores one video; where the model fails, once more: that may have been the moment's."""
        try:
            try:
                self._score([taken])
            except ScoringFailed as error:
                self._tell_failed([taken], error)
                self._score([taken])
        except Exception as error:  # whatever it is, whoever waits must hear of it
            self._settle(taken.waiting, "failed", error)

    def _tell_failed(self, taken: Sequence[Taken], error: Exception) -> None:
        """The last failure of a video is told by whoever answers for it."""
        log("run_failed", level=logging.WARNING, videos=len(taken), provider=self.provider,
            reason=f"{type(error).__name__}: {error}")  # fmt: skip

    def _is_wanted(self, taken: Taken) -> bool:
        waiting, now_s = taken.waiting, self._clock()
        if waiting.caller.until_s is not None and now_s >= waiting.caller.until_s:
            self._settle(waiting, "late", DeadlinePassed())
        if waiting.scores.done():  # or its caller left
            return False
        if not taken.place:
            self.metrics.wait.observe(now_s - waiting.entered_s)
            if waiting.trace is not None:
                waiting.trace.add("queue", waiting.entered_s, now_s, {"segsearch.frames": len(waiting.frames)})
        return True

    def _score(self, taken: Sequence[Taken]) -> None:
        started_s = self._clock()
        probabilities, embeddings = self._model.scores(self._model.laid_out([each.piece for each in taken]))
        seconds = self._clock() - started_s
        self.metrics.device.inc(seconds)
        self.metrics.batch.observe(len(probabilities))
        add_run(
            [each.waiting.trace for each in taken], started_s, seconds, videos=len(taken),
            segments=len(probabilities), provider=self.provider,
        )  # fmt: skip
        ends = np.cumsum([each.piece.segment_count for each in taken])[:-1]
        parts = zip(np.split(probabilities, ends), np.split(embeddings, ends), strict=True)
        with self._changed:
            rate = SEGMENT_FRAMES * len(probabilities) / max(seconds, 1e-6)
            self._frames_per_s += (rate - self._frames_per_s) * (_SMOOTHING if self._frames_per_s else 1)
            for each, part in zip(taken, parts, strict=True):
                each.waiting.parts[each.place] = part
            whole = [each.waiting for each in taken if len(each.waiting.parts) == each.waiting.piece_count]
        for waiting in whole:
            _deliver(waiting)

    def _settle(self, waiting: Waiting, reason: str, error: Exception) -> None:
        with suppress(InvalidStateError):  # nobody waits any more, or another of its pieces failed before
            waiting.scores.set_exception(error)
            self.metrics.dropped.labels(reason).inc()


def _deliver(waiting: Waiting) -> None:
    parts = [waiting.parts[place] for place in range(waiting.piece_count)]
    probabilities, embeddings = (
        each[0] if len(each) == 1 else np.concatenate(each) for each in zip(*parts, strict=True)
    )
    with suppress(InvalidStateError):  # its caller left
        waiting.scores.set_result(Scores(segment_starts(len(waiting.frames)), probabilities, embeddings))
