"""Scores with ONNX Runtime: opens a bundle's model, lets it prove itself on the golden videos, then runs it.

Where it stands: `core.bundle` has checked the files; `model` opens and runs one, `golden_check` judges it. One session,
one thread inside it, and as many runs at a time as `threads` says: measured, that beats threads inside one run.

T frames, F codes a frame, S segments, C classes, H embedding size.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import TypeVar

import numpy as np

from segsearch.core.bundle import Bundle, Precision
from segsearch.core.errors import ConfigError
from segsearch.core.segments import segment_starts
from segsearch.service.scoring.golden_check import check_golden
from segsearch.service.scoring.model import Batch, open_model
from segsearch.service.scoring.provider import ProviderChoice
from segsearch.service.scoring.scorer import Scores

Result = TypeVar("Result")
PIECE_SEGMENTS = 256  # a longer video of a library is cut: what lies around a cut is worked on twice


class OnnxScorer:
    """A `Scorer` that runs a model of a bundle. Use it as a context manager or `close` it."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        batch: int = 32,
        threads: int = 0,
        provider: ProviderChoice = "auto",
        precision: Precision = "float32",
    ):
        """Loads the model; raises BundleRefused unless it reproduces the bundle's golden videos.

        batch: segments in one run of the model; a model that takes whole videos may be given some more. threads: runs
        at a time; 0 takes one for each core. precision: which of the bundle's models.
        """
        ConfigError.check_range("batch", batch, 1, 4096)
        ConfigError.check_range("threads", threads, 0, 1024)
        graph = bundle.graph(precision)
        self._bundle, self._batch, self._precision = bundle, batch, precision
        self._model = open_model(bundle, graph, provider)
        self._threads = threads or _cores()
        check_golden(bundle, graph, self._model)
        self._workers = ThreadPoolExecutor(self._threads, thread_name_prefix="scorer")

    def __enter__(self) -> "OnnxScorer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Waits for runs under way; nothing can be scored afterwards."""
        self._workers.shutdown(wait=True, cancel_futures=True)

    @property
    def bundle(self) -> Bundle:
        return self._bundle

    @property
    def provider(self) -> str:
        return self._model.provider

    @property
    def precision(self) -> Precision:
        """Which of the bundle's models runs."""
        return self._precision

    def score(self, frames: np.ndarray) -> Scores:
        """Scores of one video: frames (T, F) uint8, T at least 1."""
        results = list(self._map(self._model.scores, [frames], self._batch))
        probabilities, embeddings = (np.concatenate(parts) for parts in zip(*results, strict=True))
        return Scores(segment_starts(len(frames)), probabilities, embeddings)

    def codes(self, videos: Iterable[np.ndarray], *, by_class: bool = False) -> Iterator[np.ndarray]:
        """Score codes of many videos: blocks (S, C) uint16 whose rows are the segments in order; by class, (C, S)."""
        return self._map(partial(self._model.codes, by_class=by_class), videos, max(self._batch, PIECE_SEGMENTS))

    def _map(self, work: Callable[[Batch], Result], videos: Iterable[np.ndarray], piece: int) -> Iterator[Result]:
        """Works on micro-batches side by side and gives the results in order; only a few wait in memory."""
        waiting: deque[Future[Result]] = deque()
        try:
            for batch in self._model.batches(videos, self._batch, piece):
                waiting.append(self._workers.submit(work, batch))
                if len(waiting) > 2 * self._threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
