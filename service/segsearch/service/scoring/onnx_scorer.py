"""Scores with ONNX Runtime: opens a bundle's model, lets it prove itself on the golden videos, then runs it.

Where it stands: `core.bundle` has checked the files; `opening` makes an engine of a model, which runs as many batches
at a time as its tuning says.

T frames, F codes a frame, S segments, C classes, H embedding size.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np

from segsearch.core.bundle import Bundle, Precision
from segsearch.core.segments import segment_count, segment_starts
from segsearch.service.scoring.model import Model
from segsearch.service.scoring.opening import Wishes, open_engine
from segsearch.service.scoring.provider import ProviderChoice
from segsearch.service.scoring.scorer import Scores
from segsearch.service.scoring.trials import PIECE_SEGMENTS
from segsearch.service.scoring.tuning import DEFAULT_BATCH, Tuning

SMALLEST_PIECE: Final = 16  # segments: one video is not cut smaller to keep every run busy


class OnnxScorer:
    """A `Scorer` that runs a model of a bundle. Use it as a context manager or `close` it."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        batch: int = DEFAULT_BATCH,
        threads: int = 0,
        provider: ProviderChoice = "auto",
        precision: Precision = "float32",
        cache: Path | None = None,
        tuning: Tuning | None = None,
    ):
        """Loads the model; raises BundleRefused unless it reproduces the bundle's golden videos.

        What the keywords mean is said at `opening.Wishes`.
        """
        self._bundle, self._precision = bundle, precision
        wishes = Wishes(
            batch=batch, threads=threads, provider=provider, precision=precision, cache=cache, tuning=tuning
        )
        self._engine = open_engine(bundle, wishes)

    def __enter__(self) -> "OnnxScorer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Waits for runs under way; nothing can be scored afterwards."""
        self._engine.close()

    @property
    def bundle(self) -> Bundle:
        return self._bundle

    @property
    def model(self) -> Model:
        """What runs, for whoever brings threads of its own."""
        return self._engine.model

    @property
    def provider(self) -> str:
        return self._engine.model.provider

    @property
    def precision(self) -> Precision:
        """Which of the bundle's models runs."""
        return self._precision

    @property
    def tuning(self) -> Tuning:
        """How it runs."""
        return self._engine.tuning

    def score(self, frames: np.ndarray) -> Scores:
        """Scores of one video: frames (T, F) uint8, T at least 1."""
        share = -(-segment_count(len(frames)) // self.tuning.runs)
        piece = min(self.tuning.batch, max(SMALLEST_PIECE, share))
        results = list(self._engine.map(self._engine.model.scores, [frames], piece))
        probabilities, embeddings = (np.concatenate(parts) for parts in zip(*results, strict=True))
        return Scores(segment_starts(len(frames)), probabilities, embeddings)

    def codes(self, videos: Iterable[np.ndarray], *, by_class: bool = False) -> Iterator[np.ndarray]:
        """Score codes of many videos: blocks (S, C) uint16 whose rows are the segments in order; by class, (C, S)."""
        work = partial(self._engine.model.codes, by_class=by_class)
        return self._engine.map(work, videos, max(self.tuning.batch, PIECE_SEGMENTS))

    def codes_and_embeddings(self, videos: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The same by class (C, S), each block with its segments' embeddings (S, H) float32."""
        work = self._engine.model.codes_and_embeddings
        return self._engine.map(work, videos, max(self.tuning.batch, PIECE_SEGMENTS))
