"""Videos that wait to be scored: bounded by their frames, clients in turn.

Where it stands: `batching_scorer` puts videos in, takes what goes through the model together, and holds its lock over
every call here. Nothing here runs a model, or knows a thread.

A client may hold no more frames than are left free for others, see `fair_share`.
"""

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from segsearch.core.blocks import Piece
from segsearch.service.fair_share import FairShare
from segsearch.service.scoring.scorer import Caller, Scores
from segsearch.service.tracing.trace import Trace, current


@dataclass(eq=False, slots=True)
class Waiting:
    """One video, from when it is taken in until its scores are there or nobody wants them any more."""

    frames: np.ndarray  # (T, F) uint8
    pieces: deque[Piece]  # that no run has taken yet, in order
    caller: Caller
    entered_s: float
    scores: Future[Scores] = field(default_factory=Future)
    trace: Trace | None = field(default_factory=current)  # of the request that it came with
    taken: int = 0  # pieces
    parts: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)  # of scored pieces, by place
    piece_count: int = field(init=False)

    def __post_init__(self) -> None:
        self.piece_count = len(self.pieces)


class Taken(NamedTuple):
    """A piece that is on its way through the model."""

    waiting: Waiting
    place: int  # among the video's pieces
    piece: Piece


class FairQueue:
    """Whoever uses it holds a lock."""

    def __init__(self, limit_frames: int):
        self._share = FairShare(limit_frames)  # of videos that are waiting or being scored
        self.segments = 0  # that no run has taken yet
        self._turns: dict[str, deque[Waiting]] = {}  # by client; whose turn is next stands first

    @property
    def frames(self) -> int:
        """Of videos that are waiting or being scored."""
        return self._share.taken

    @property
    def limit_frames(self) -> int:
        return self._share.limit

    def has_room(self, client: str, frame_count: int) -> bool:
        """Whether a client's video would be taken; an empty queue takes one of any length."""
        return self._share.has_room(client, frame_count)

    def put(self, waiting: Waiting) -> None:
        """Behind what its client sent before."""
        client = waiting.caller.client
        self._share.take(client, len(waiting.frames))
        self.segments += sum(piece.segment_count for piece in waiting.pieces)
        self._turns.setdefault(client, deque()).append(waiting)

    def take(self, segments: int) -> list[Taken]:
        """What goes through the model together: a piece of each client in turn, until they hold so many segments.

        Never two pieces of one video: where several runs are free they share it.
        """
        taken: list[Taken] = []
        begun: dict[str, list[Waiting]] = {}  # by client: videos in it already that have more pieces
        count = 0
        while count < segments and self._turns:
            client = next(iter(self._turns))
            line = self._turns.pop(client)
            waiting = line.popleft()
            piece = waiting.pieces.popleft()
            taken.append(Taken(waiting, waiting.taken, piece))
            waiting.taken += 1
            count += piece.segment_count
            if waiting.pieces:
                begun.setdefault(client, []).append(waiting)
            if line:
                self._turns[client] = line
        for client, videos in begun.items():  # stand in front again
            self._turns.setdefault(client, deque()).extendleft(reversed(videos))
        self.segments -= count
        return taken

    def leave(self, waiting: Waiting) -> None:
        """Takes a video out that is done, or that nobody waits for any more."""
        client = waiting.caller.client
        self._share.give_back(client, len(waiting.frames))
        if waiting.pieces:
            self.segments -= sum(piece.segment_count for piece in waiting.pieces)
            waiting.pieces.clear()
            self._turns[client].remove(waiting)
            if not self._turns[client]:
                del self._turns[client]
