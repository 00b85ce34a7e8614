"""Every call of the service, described once: what is asked, how the answer is read, and when it may be asked again.

Where it stands: `clients` gives people a method for each function here, sync and async; `routes` says how a call looks
over HTTP, `rpcs` how over gRPC. Nothing here knows of either.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Generic, TypeVar

from segsearch.client.answers import (
    Comparison,
    Generation,
    Generations,
    MomentsResult,
    Ready,
    ScoreResult,
    SearchResult,
    SimilarResult,
    Stored,
    Strip,
    TagsResult,
)
from segsearch.client.operation import Job, Model
from segsearch.client.uploads import Source, Upload, upload_of
from segsearch.core.errors import InvalidInput

Answer = TypeVar("Answer")


class Reach(IntEnum):
    """How far a call may have come that failed."""

    NOWHERE = 0  # there was no connection
    REFUSED = 1  # the service, or what stands before it, said: not now
    UNKNOWN = 2  # it was sent, and no answer came


@dataclass(frozen=True, slots=True)
class Call(Generic[Answer]):
    """One call, however it is sent."""

    name: str
    read: Callable[[Any], Answer]  # from what the service tells, as its JSON has it
    asked: Mapping[str, Any] = field(default_factory=dict)  # None: left to the service
    upload: Upload | None = None
    # The farthest failure after which asking again is as good as having asked once.
    repeat_after: Reach = Reach.UNKNOWN
    key: str | None = None  # of a change: by it the service does the change once, however often it is sent


def search(tag: str, k: int, min_score: float, per_video: int | None) -> Call[SearchResult]:
    """The k best segments."""
    return Call("search", SearchResult.of, _searched(tag, k, min_score, per_video))


def moments(tag: str, k: int, min_score: float, per_video: int | None) -> Call[MomentsResult]:
    """The same, adjacent ones as one moment."""
    return Call("search", MomentsResult.of, {**_searched(tag, k, min_score, per_video), "merge": True})


def score(source: Source, video_id: str | None, top: int, index: bool) -> Call[ScoreResult]:
    """A video's segments with their best tags; where it is stored, once."""
    upload = upload_of(source, video_id)
    if index and upload.video_id is None:
        raise InvalidInput("video_id", "none", "an id to index the video under")
    in_query = None if upload.names_itself else upload.video_id
    asked = {"video_id": in_query, "top": int(top), "index": bool(index)}
    return Call("score", ScoreResult.of, asked, upload, key=_new_key() if index else None)


def similar(video_id: str, start_s: int, k: int) -> Call[SimilarResult]:
    """The neighbours of a segment of the library."""
    return Call("similar", SimilarResult.of, {"video_id": video_id, "start_s": int(start_s), "k": int(k)})


def similar_to(source: Source, start_s: int | None, k: int) -> Call[SimilarResult]:
    """The neighbours of frames that are sent; the service names them as it likes."""
    upload, start_s = upload_of(source), None if start_s is None else int(start_s)
    return Call("similar_to", SimilarResult.of, {"start_s": start_s, "k": int(k)}, upload)


def tags(prefix: str, limit: int) -> Call[TagsResult]:
    """Tags that begin with a prefix."""
    return Call("tags", TagsResult.of, {"prefix": prefix, "limit": int(limit)})


def video(video_id: str, tags: Sequence[str]) -> Call[Strip]:
    """A video's scores over time."""
    return Call("video", Strip.of, {"video_id": video_id, "tag": tuple(tags)})


def delete(video_id: str) -> Call[Stored]:
    """Takes a video out, once."""
    return Call("delete", Stored.of, {"video_id": video_id}, key=_new_key())


def generations() -> Call[Generations]:
    """The generations that are there."""
    return Call("generations", Generations.of)


def compare(a: int, b: int, k: int, limit: int) -> Call[Comparison]:
    """Two generations side by side."""
    return Call("compare", Comparison.of, {"a": int(a), "b": int(b), "k": int(k), "limit": int(limit)})


def activate(number: int) -> Call[Generation]:
    """Makes a generation current; asked again later, it could undo what somebody else has switched to since."""
    return Call("activate", Generation.of, {"number": int(number)}, repeat_after=Reach.NOWHERE)


def model() -> Call[Model]:
    """The model that scores uploads."""
    return Call("model", Model.of)


def load_model(path: str) -> Call[Model]:
    """Puts a bundle in the place of the one in use; asked again later, it could undo what somebody else did since."""
    return Call("load_model", Model.of, {"path": path}, repeat_after=Reach.NOWHERE)


def reindex(shards: Sequence[str], bundle: str | None, skip_bad: bool) -> Call[Job]:
    """Starts a job; asked again after it began, the service would say that one runs."""
    patterns = (shards,) if isinstance(shards, str) else tuple(shards)
    asked = {"shards": patterns, "bundle": bundle, "on_error": "skip" if skip_bad else "stop"}
    return Call("reindex", Job.of, asked, repeat_after=Reach.REFUSED)


def job(job_id: str) -> Call[Job]:
    """How a job is."""
    return Call("job", Job.of, {"job_id": job_id})


def cancel_job(job_id: str) -> Call[Job]:
    """Ends a job that runs."""
    return Call("cancel_job", Job.of, {"job_id": job_id})


def ready() -> Call[Ready]:
    """What is being served."""
    return Call("ready", Ready.of)


def _new_key() -> str:
    return uuid.uuid4().hex


def _searched(tag: str, k: int, min_score: float, per_video: int | None) -> dict[str, Any]:
    no_more = None if per_video is None else int(per_video)
    return {"tag": tag, "k": int(k), "min_score": float(min_score), "per_video": no_more}
