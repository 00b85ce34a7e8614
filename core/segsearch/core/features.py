"""What a frame is made of: the feature streams, their 8-bit codes, and the id of the space they live in.

A frame's streams are concatenated in the spec's order into one row of codes: YouTube-8M's `rgb` (1024) and
`audio` (128) make rows of 1152 bytes. Streams are configuration; nothing else in segsearch knows their sizes.
"""

import re
from dataclasses import dataclass

import numpy as np

from segsearch.core.errors import ConfigError

_STREAM = re.compile(r"(?P<name>[A-Za-z]\w*)(?:=(?P<key>[A-Za-z]\w*))?:(?P<size>\d+)")


@dataclass(frozen=True, slots=True)
class Stream:
    """One extractor's output: `size` byte codes a frame, stored under `key` in the records."""

    name: str
    size: int
    key: str = ""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"size of stream {self.name}", self.size, "at least 1")
        if not self.key:
            object.__setattr__(self, "key", self.name)


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """The streams of a frame, in the order in which models see them, and how their codes become floats."""

    streams: tuple[Stream, ...]
    extractor: str = "youtube8m"
    low: float = -2.0
    high: float = 2.0

    def __post_init__(self) -> None:
        names = [stream.name for stream in self.streams]
        if not names or len(set(names)) != len(names):
            raise ConfigError("feature streams", ",".join(names), "one or more, each named once")
        if not self.low < self.high:
            raise ConfigError("dequantisation range", (self.low, self.high), "low below high")

    @classmethod
    def parse(cls, text: str, extractor: str = "youtube8m") -> "FeatureSpec":
        """Reads `rgb:1024,audio:128`; `audio=audio_embedding:128` names another key in the records."""
        streams = []
        for part in text.split(","):
            match = _STREAM.fullmatch(part.strip())
            if match is None:
                raise ConfigError("feature streams", text, "name:size or name=key:size, separated by commas")
            streams.append(Stream(match["name"], int(match["size"]), match["key"] or match["name"]))
        return cls(tuple(streams), extractor)

    def __str__(self) -> str:
        return ",".join(
            f"{stream.name}:{stream.size}" if stream.key == stream.name else f"{stream.name}={stream.key}:{stream.size}"
            for stream in self.streams
        )

    @property
    def size(self) -> int:
        """Codes a frame: the width F of a row."""
        return sum(stream.size for stream in self.streams)

    @property
    def space(self) -> str:
        """The feature-space id. Two specs share one exactly if a model of one can read frames of the other.

        Record keys are left out: they name where the codes lie, not what they mean.
        """
        streams = "+".join(f"{stream.name}{stream.size}" for stream in self.streams)
        return f"{self.extractor}/{streams}/{self.low:g}..{self.high:g}"


YOUTUBE8M = FeatureSpec((Stream("rgb", 1024), Stream("audio", 128)))


def dequantise(codes: np.ndarray, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    """Byte codes back to float32, exactly as YouTube-8M's reader does (google/youtube-8m, utils.Dequantize)."""
    # 255 and 512 do not match; both are the data set's, and trained weights depend on them.
    scale, offset = np.float32((high - low) / 255), np.float32((high - low) / 512 + low)
    values: np.ndarray = codes.astype(np.float32) * scale + offset
    return values


def quantise(values: np.ndarray, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    """Floats to uint8 codes: clipped to the range, then truncated, as YouTube-8M's feature extractor does."""
    unit = (np.clip(values, low, high) - low) / (high - low)
    codes: np.ndarray = (unit * 255).astype(np.uint8)
    return codes
