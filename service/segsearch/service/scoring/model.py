"""One model of a bundle, opened: how videos are cut for it, what goes in, what comes out.

Where it stands: `onnx_scorer` decides how many run at a time; `golden_check` lets a model prove itself; `session` runs
it. There are two layouts: a graph of windows takes each segment's window by itself, a graph of blocks takes whole
videos and works on each frame once.

S segments of a batch, C classes, H embedding size.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np

from segsearch.core.blocks import Piece, batches_of_pieces, cut_pieces, lay_out
from segsearch.core.bundle import Bundle, Graph
from segsearch.core.score_codes import encode_probabilities
from segsearch.service.scoring.micro_batches import micro_batches, windows_of
from segsearch.service.scoring.provider import ProviderChoice
from segsearch.service.scoring.session import Session
from segsearch.service.scoring.signature import CLASS_CODES, CODES

Batch = Sequence[np.ndarray]  # the model's inputs, in order


class Model(Protocol):
    """Safe to run from several threads at a time."""

    @property
    def provider(self) -> str:
        """What really runs the model, as ONNX Runtime names it."""

    def limited(self, limit_s: float) -> AbstractContextManager[None]:
        """Inside, runs that take longer raise; after that the model is of no more use."""

    def batches(self, videos: Iterable[np.ndarray], size: int, piece: int) -> Iterator[Batch]:
        """The segments of videos (T, F) uint8, in order, about `size` in a batch.

        piece: a video of more segments than this is cut, which bounds memory and lets several runs share it.
        """

    def pieces(self, frames: np.ndarray, limit: int) -> list[Piece]:
        """A video (T, F) uint8 as pieces of at most `limit` segments: views, nothing is copied."""

    def laid_out(self, pieces: Sequence[Piece]) -> Batch:
        """Pieces of whatever videos as one batch, their segments in order."""

    def scores(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (S, C) and embeddings (S, H), float32."""

    def codes(self, batch: Batch, *, by_class: bool) -> np.ndarray:
        """Score codes (S, C) uint16, or (C, S)."""

    def codes_and_embeddings(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Score codes (C, S) uint16 and embeddings (S, H) float32."""


def open_model(bundle: Bundle, graph: Graph, provider: ProviderChoice, *, threads: int = 1, sessions: int = 1) -> Model:
    """Loads the graph's file; raises BundleRefused for one that is unsafe, damaged, or has another signature.

    threads: inside one run. sessions: how often the file is loaded; runs take turns.
    """
    session = Session(bundle, graph, provider, threads, sessions)
    kind = BlockModel if graph.layout == "blocks" else WindowModel
    return kind(session, bundle.manifest.context_frames)


class WindowModel:
    """A graph of windows: each segment's window is worked on by itself."""

    def __init__(self, session: Session, context: int):
        self._session, self._context = session, context

    @property
    def provider(self) -> str:
        return self._session.provider

    def limited(self, limit_s: float) -> AbstractContextManager[None]:
        return self._session.limited(limit_s)

    def batches(self, videos: Iterable[np.ndarray], size: int, piece: int) -> Iterator[Batch]:  # noqa: ARG002
        return micro_batches(videos, self._context, size)

    def pieces(self, frames: np.ndarray, limit: int) -> list[Piece]:
        return list(cut_pieces(frames, self._context, limit))

    def laid_out(self, pieces: Sequence[Piece]) -> Batch:
        return windows_of(pieces, self._context)

    def scores(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        return self._session.scores(batch)

    def codes(self, batch: Batch, *, by_class: bool) -> np.ndarray:
        codes = encode_probabilities(self.scores(batch)[0])
        return np.ascontiguousarray(codes.T) if by_class else codes

    def codes_and_embeddings(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        scores, embeddings = self.scores(batch)
        return np.ascontiguousarray(encode_probabilities(scores).T), embeddings


class BlockModel:
    """A graph of blocks: whole videos, each frame worked on once, score codes made inside."""

    def __init__(self, session: Session, context: int):
        self._session, self._context = session, context

    @property
    def provider(self) -> str:
        return self._session.provider

    def limited(self, limit_s: float) -> AbstractContextManager[None]:
        return self._session.limited(limit_s)

    def batches(self, videos: Iterable[np.ndarray], size: int, piece: int) -> Iterator[Batch]:
        for pieces in batches_of_pieces(videos, self._context, size, piece):
            yield lay_out(pieces, self._context)

    def pieces(self, frames: np.ndarray, limit: int) -> list[Piece]:
        return list(cut_pieces(frames, self._context, limit))

    def laid_out(self, pieces: Sequence[Piece]) -> Batch:
        return lay_out(pieces, self._context)

    def scores(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        return self._session.scores(batch)

    def codes(self, batch: Batch, *, by_class: bool) -> np.ndarray:
        return self._session.codes(CLASS_CODES if by_class else CODES, batch)

    def codes_and_embeddings(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        return self._session.codes_and_embeddings(batch)
