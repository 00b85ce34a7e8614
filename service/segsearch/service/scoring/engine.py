"""A model at work: micro-batches side by side, results in order.

Where it stands: `onnx_scorer` says what is to be done with each batch; the `Tuning` says how many at a time.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from segsearch.service.scoring.model import Batch, Model
from segsearch.service.scoring.tuning import Tuning

Result = TypeVar("Result")


class Engine:
    """Runs a model's batches in threads of its own. `close` it."""

    def __init__(self, model: Model, tuning: Tuning):
        self.model, self.tuning = model, tuning
        self._workers = ThreadPoolExecutor(tuning.runs, thread_name_prefix="scorer")

    def close(self) -> None:
        """Waits for runs under way; nothing can be scored afterwards."""
        self._workers.shutdown(wait=True, cancel_futures=True)

    def map(self, work: Callable[[Batch], Result], videos: Iterable[np.ndarray], piece: int) -> Iterator[Result]:
        """What `work` makes of the batches of videos (T, F) uint8, in order; only a few wait in memory.

        piece: a video of more segments is cut.
        """
        waiting: deque[Future[Result]] = deque()
        try:
            for batch in self.model.batches(videos, self.tuning.batch, piece):
                waiting.append(self._workers.submit(work, batch))
                if len(waiting) > 2 * self.tuning.runs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
