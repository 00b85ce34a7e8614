"""A scorer whose model runs only when a test lets it, and which tells what it ran."""

import threading
from collections.abc import Iterable, Sequence

import numpy as np

from segsearch.core.blocks import Piece
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from segsearch.service.scoring.tuning import Tuning

PATIENCE_S = 60  # far beyond what any of this takes: what still hangs then hangs for ever
POISON = 255  # a video whose first code is this cannot be scored


class GatedScorer:
    """Stands in an `OnnxScorer`'s place, and for its model too. Closed at first: `open` it."""

    precision = "float32"

    def __init__(self, scorer: OnnxScorer, *, batch: int = 8, threads: int = 1):
        self.bundle, self.provider, self.tuning = scorer.bundle, scorer.provider, Tuning(batch, threads)
        self.model, self._real = self, scorer.model
        self.ran: list[list[int]] = []  # of each run, the first code of each piece's video
        self.closed = False
        self._gate = threading.Event()
        self._entered = threading.Semaphore(0)

    def open(self) -> None:
        self._gate.set()

    def wait_for_run(self) -> None:
        """Returns once one more run is at the gate or beyond it."""
        assert self._entered.acquire(timeout=PATIENCE_S)

    def close(self) -> None:
        self.closed = True

    def pieces(self, frames: np.ndarray, limit: int) -> list[Piece]:
        return self._real.pieces(frames, limit)

    def laid_out(self, pieces: Sequence[Piece]) -> list[Piece]:
        return list(pieces)

    def scores(self, pieces: list[Piece]) -> tuple[np.ndarray, np.ndarray]:
        self._entered.release()
        assert self._gate.wait(PATIENCE_S)
        self.ran.append([int(piece.frames[0, 0]) for piece in pieces])
        if POISON in self.ran[-1]:
            raise RuntimeError("the model fails")
        return self._real.scores(self._real.laid_out(pieces))

    def codes(self, videos: Iterable[np.ndarray], *, by_class: bool = False) -> None:
        raise NotImplementedError
