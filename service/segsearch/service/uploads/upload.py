"""What a body of `POST /score` becomes, and the rules that frames keep in every format.

Where it stands: the parsers beside it make uploads, `reader` chooses the parser, `library` gets the frames.

T frames, F codes a frame.
"""

from dataclasses import dataclass

import numpy as np

from segsearch.core.errors import InputTooLarge, InvalidInput
from segsearch.core.features import FeatureSpec


@dataclass(frozen=True, slots=True, eq=False)
class Upload:
    """One video to score."""

    frames: np.ndarray  # (T, F) uint8
    video_id: str | None = None  # None where the body does not name its video


@dataclass(frozen=True, slots=True)
class Rules:
    """What frames must be: of a model's streams, at least one, and no more than the operator allows."""

    spec: FeatureSpec
    frame_limit: int

    def check_length(self, field: str, frame_count: int) -> None:
        """Raises InvalidInput or InputTooLarge, naming the field."""
        if frame_count < 1:
            raise InvalidInput(field, f"{frame_count} frames", "at least 1")
        if frame_count > self.frame_limit:
            raise InputTooLarge(field, f"{frame_count} frames", f"at most {self.frame_limit}")

    def side_by_side(self, field: str, streams: dict[str, np.ndarray]) -> np.ndarray:
        """(T, F) uint8 of all streams (T, size) by name; raises InvalidInput where they differ in length."""
        lengths = {stream.name: len(streams[stream.name]) for stream in self.spec.streams}
        if len(set(lengths.values())) > 1:
            raise InvalidInput(field, f"streams of unequal length {lengths}", "one row a second in each")
        return np.concatenate([streams[stream.name] for stream in self.spec.streams], axis=1)
