"""Measures how fast a model runs under a tuning, on videos that are made up: speed does not look at what they show.

F codes a frame.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

from segsearch.core.segments import segment_count
from segsearch.service.scoring.engine import Engine
from segsearch.service.scoring.model import Model
from segsearch.service.scoring.tuning import Tuning

VIDEO_FRAMES: Final = 230  # about YouTube-8M's mean
SEGMENTS: Final = 256  # of a trial at least; more where so many runs would not share them evenly
REPEATS: Final = 2
PIECE_SEGMENTS: Final = 256  # a longer video of a library is cut: what lies around a cut is worked on twice


class Trials:
    """Segments a second under a tuning, by the clock, the best of a few. Remembers the model it opened last."""

    def __init__(self, opened: Model, tuning: Tuning, reopen: Callable[[Tuning], Model], frame_size: int):
        """opened: a model as `tuning` wants it. reopen: how to get one for another tuning."""
        self._model, self._opened_for, self._reopen = opened, tuning, reopen
        self._video = np.random.default_rng(0).integers(0, 256, (VIDEO_FRAMES, frame_size), np.uint8)

    def __call__(self, tuning: Tuning) -> float:
        engine = Engine(self.model_for(tuning), tuning)
        videos = -(-max(SEGMENTS, 2 * tuning.runs * tuning.batch) // segment_count(VIDEO_FRAMES))
        try:
            self._pass(engine, 2 * tuning.runs)  # ONNX Runtime's first runs take its memory
            seconds = min(self._pass(engine, videos) for _ in range(REPEATS))
        finally:
            engine.close()
        return videos * segment_count(VIDEO_FRAMES) / max(seconds, 1e-9)

    def model_for(self, tuning: Tuning) -> Model:
        """A model that this tuning can be run with."""
        if not tuning.opens_as(self._opened_for):
            self._model, self._opened_for = self._reopen(tuning), tuning
        return self._model

    def _pass(self, engine: Engine, videos: int) -> float:
        started = time.perf_counter()
        work = partial(engine.model.codes, by_class=True)
        for _ in engine.map(work, [self._video] * videos, max(engine.tuning.batch, PIECE_SEGMENTS)):
            pass
        return time.perf_counter() - started
