"""Messages of `search.proto` as what the library takes: checked, with the limits and defaults that REST has.

T frames, F codes a frame.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from segsearch.core.errors import InputTooLarge, InvalidInput, TooSlow
from segsearch.core.videos import VIDEO_ID_LIMIT, check_video_id
from segsearch.service.comparison import CHANGES, CHANGES_LIMIT, COMPARED, COMPARED_LIMIT
from segsearch.service.jobs.reindex_process import Wish
from segsearch.service.library import SIMILAR_LIMIT
from segsearch.service.uploads.reader import UNNAMED
from segsearch.service.uploads.upload import Rules
from segsearch.v1.search_pb2 import (
    CompareGenerationsRequest,
    GetVideoRequest,
    ListTagsRequest,
    LoadModelRequest,
    ScoreRequest,
    SearchRequest,
    SimilarRequest,
    StartReindexRequest,
)

PAGE_LIMIT: Final = 10_000  # segments of one message
_TAG_LIMIT: Final = 1000
_QUERY_LIMIT: Final = 1000  # characters
_PREFIX_LIMIT: Final = 256  # characters
_STRIP_LIMIT: Final = 100  # tags
_PATTERN_LIMIT: Final = 100
_PATH_LIMIT: Final = 1000  # characters
_GENERATION_LIMIT: Final = 1 << 31


@dataclass(frozen=True, slots=True)
class Query:
    """What to search for."""

    tag: str
    k: int
    min_score: float
    per_video: int | None
    merge: bool
    page_token: str

    @classmethod
    def of(cls, request: SearchRequest, limit: int) -> "Query":
        """limit: the most segments. Raises InvalidInput."""
        _check_length("tag", request.tag, 1, _QUERY_LIMIT)
        k = request.k if request.HasField("k") else 100
        wanted = f"1 to {limit}" if limit > PAGE_LIMIT else f"1 to {limit}, or SearchStream"
        _check(1 <= k <= limit, "k", k, wanted)
        _check(0 <= request.min_score <= 1, "min_score", request.min_score, "0 to 1")
        per_video = request.per_video if request.HasField("per_video") else None
        _check(per_video is None or per_video >= 1, "per_video", per_video, "at least 1")
        _check(not (request.merge and request.page_token), "page_token", "given with merge", "one or the other")
        return cls(request.tag, k, request.min_score, per_video, request.merge, request.page_token)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two generations to compare, and how far."""

    a: int
    b: int
    k: int
    limit: int

    @classmethod
    def of(cls, request: CompareGenerationsRequest) -> "Pair":
        """Raises InvalidInput."""
        k = request.k if request.HasField("k") else COMPARED
        limit = request.limit if request.HasField("limit") else CHANGES
        _check(1 <= k <= COMPARED_LIMIT, "k", k, f"1 to {COMPARED_LIMIT}")
        _check(0 <= limit <= CHANGES_LIMIT, "limit", limit, f"0 to {CHANGES_LIMIT}")
        return cls(generation_number(request.a, "a"), generation_number(request.b, "b"), k, limit)


@dataclass(frozen=True, slots=True, eq=False)
class Upload:
    """A video to score, and how."""

    video_id: str
    frames: np.ndarray  # (T, F) uint8
    top: int
    index: bool


@dataclass(frozen=True, slots=True)
class UploadReader:
    """Reads one message of a video's frames, or many, within the operator's limits."""

    rules: Rules
    limit_bytes: int  # of all frames
    limit_s: float  # until the last message is there

    def read(self, messages: Iterable[ScoreRequest]) -> Upload:
        """The first message says what is wanted; the limits hold while they arrive.

        Raises InvalidInput, InputTooLarge or TooSlow.
        """
        began_s = time.monotonic()
        pieces: list[bytes] = []
        size_bytes = 0
        first: ScoreRequest | None = None
        for message in messages:
            if time.monotonic() - began_s > self.limit_s:
                raise TooSlow("frames", self.limit_s)
            if first is None:
                first = message
                self._check_options(first)
            elif message.video or message.index or message.HasField("top"):
                raise InvalidInput("frames", f"options again in message {len(pieces) + 1}", "them in the first alone")
            size_bytes += len(message.frames)
            self._check_size(len(message.frames), size_bytes)
            pieces.append(message.frames)
        if first is None:
            raise InvalidInput("request", "no message", "at least one")
        return Upload(first.video or UNNAMED, self._array(b"".join(pieces)), _top(first), first.index)

    def frames(self, content: bytes) -> np.ndarray:
        """(T, F) uint8 of frames in one message; raises InvalidInput or InputTooLarge."""
        self._check_size(len(content), len(content))
        return self._array(content)

    def _check_options(self, message: ScoreRequest) -> None:
        if message.video:
            check_video_id(message.video, "video")
        _check(bool(message.video) or not message.index, "video", "none", "an id to store the video under")
        _check(1 <= _top(message) <= _TAG_LIMIT, "top", message.top, f"1 to {_TAG_LIMIT}")

    def _check_size(self, piece_bytes: int, size_bytes: int) -> None:
        """Of one message, and of all so far."""
        spec, most = self.rules.spec, self.rules.frame_limit
        if piece_bytes % spec.size:
            raise InvalidInput("frames", f"{piece_bytes} bytes", f"whole frames of {spec.size} bytes each: {spec}")
        if size_bytes > self.limit_bytes:
            raise InputTooLarge("frames", f"{size_bytes} bytes", f"at most {self.limit_bytes}")
        if size_bytes // spec.size > most:
            raise InputTooLarge("frames", f"{size_bytes // spec.size} frames", f"at most {most}")

    def _array(self, content: bytes) -> np.ndarray:
        frames = np.frombuffer(content, np.uint8).reshape(-1, self.rules.spec.size)
        self.rules.check_length("frames", len(frames))
        return frames


def prefix_and_limit(request: ListTagsRequest) -> tuple[str, int]:
    """What `ListTags` asks for; raises InvalidInput."""
    _check_length("prefix", request.prefix, 0, _PREFIX_LIMIT)
    limit = request.limit if request.HasField("limit") else 20
    _check(1 <= limit <= _TAG_LIMIT, "limit", limit, f"1 to {_TAG_LIMIT}")
    return request.prefix, limit


def video_and_tags(request: GetVideoRequest) -> tuple[str, list[str]]:
    """What `GetVideo` asks for; raises InvalidInput."""
    _check(1 <= len(request.tags) <= _STRIP_LIMIT, "tags", len(request.tags), f"1 to {_STRIP_LIMIT} of them")
    for tag in request.tags:
        _check_length("tags", tag, 0, _QUERY_LIMIT)
    return video_id(request.video), list(request.tags)


def neighbour_count(request: SimilarRequest) -> int:
    """How many segments `Similar` asks for; raises InvalidInput."""
    k = request.k if request.HasField("k") else 100
    _check(1 <= k <= SIMILAR_LIMIT, "k", k, f"1 to {SIMILAR_LIMIT}")
    return k


def named_segment(request: SimilarRequest) -> tuple[str, int]:
    """The video and first second of the segment that `Similar` names; raises InvalidInput."""
    _check(request.HasField("segment"), "query", "neither segment nor frames", "one of them")
    _check(not request.HasField("start_s"), "start_s", "given with a segment", "it in the segment")
    _check(request.segment.start_s >= 0, "segment.start_s", request.segment.start_s, "0 or more")
    return video_id(request.segment.video), request.segment.start_s


def start_of_frames(request: SimilarRequest) -> int | None:
    """The first second of the segment of the frames that `Similar` sends; None is the mean of all."""
    _check(request.start_s >= 0, "start_s", request.start_s, "0 or more")
    return request.start_s if request.HasField("start_s") else None


def bundle_path(request: LoadModelRequest) -> str:
    """What `LoadModel` asks for; raises InvalidInput."""
    _check_length("path", request.path, 1, _PATH_LIMIT)
    return request.path


def reindex_wish(request: StartReindexRequest) -> Wish:
    """What `StartReindex` asks for; raises InvalidInput."""
    _check(1 <= len(request.shards) <= _PATTERN_LIMIT, "shards", len(request.shards), f"1 to {_PATTERN_LIMIT} of them")
    for pattern in request.shards:
        _check_length("shards", pattern, 1, _PATH_LIMIT)
    _check_length("bundle", request.bundle, 0, _PATH_LIMIT)
    return Wish(tuple(request.shards), request.bundle or None, skip_bad=request.skip_bad)


def video_id(text: str) -> str:
    """The id of a video that may be there; raises InvalidInput."""
    _check_length("video", text, 0, VIDEO_ID_LIMIT)
    return text


def generation_number(number: int, field: str = "number") -> int:
    """The number of a generation that may be there; raises InvalidInput."""
    _check(1 <= number <= _GENERATION_LIMIT, field, number, "as ListGenerations names them")
    return number


def _top(message: ScoreRequest) -> int:
    return message.top if message.HasField("top") else 20


def _check_length(field: str, text: str, least: int, most: int) -> None:
    _check(least <= len(text) <= most, field, f"{len(text)} characters", f"{least} to {most}")


def _check(holds: bool, field: str, found: object, wanted: str) -> None:
    if not holds:
        raise InvalidInput(field, str(found), wanted)
