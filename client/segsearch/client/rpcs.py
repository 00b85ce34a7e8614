"""Calls as messages of `search.proto`, and what comes back as outcomes. Pure: `rpc` does the sending.

Where it stands: the client's side of `service.rpc`. An answer is told in the words of REST, so that `answers` has one
way to read it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from segsearch.client.calls import Call, Reach
from segsearch.client.outcomes import Lost, Outcome, Refused
from segsearch.client.retries import Tries
from segsearch.core.errors import ConfigError, InvalidInput, ServiceUnreachable
from segsearch.core.segments import segment_id
from segsearch.v1 import search_pb2 as pb

_PAGE_LIMIT: Final = 10_000  # segments of one message; longer answers come in several
_DETAILS: Final = "grpc-status-details-bin"
# Metadata are text; these facts of errors are not.
_NUMBERS: Final = {
    "rate_per_s", "retry_after_s", "limit_s", "waiting", "limit", "generation", "sequence", "serving", "known", "older",
    "newer",
}  # fmt: skip
_LISTS: Final = {"nearest"}
# gRPC's own words, which come without details: where nobody was reached, and where a server took no further call.
_NOWHERE: Final = ("failed to connect", "dns resolution failed", "errors resolving")
_CROWDED: Final = "Concurrent RPC limit exceeded!"


@dataclass(frozen=True, slots=True)
class Rpc:
    """A call over gRPC."""

    method: str
    request: Callable[[], Message | Iterator[Message]]  # anew for each attempt
    told: Callable[[list[Any]], dict[str, Any]]  # what came, in REST's words
    many_back: bool = False  # the answer is a stream

    @classmethod
    def of(cls, call: Call[Any]) -> "Rpc":
        """Raises ConfigError for a call that gRPC does not have, InvalidInput for what a message cannot hold."""
        if call.name not in _FORMS:
            raise ConfigError("url", "grpc://", f"http:// or https://, as gRPC does not have {call.name!r}")
        try:
            return _FORMS[call.name](call)
        except (ValueError, TypeError) as error:
            raise InvalidInput(call.name, str(error), "values that its message can hold") from None


def _search(call: Call[Any]) -> Rpc:
    request = pb.SearchRequest(**_given(call))
    long = request.k > _PAGE_LIMIT
    return Rpc("SearchStream" if long else "Search", lambda: request, _searched, many_back=long)


def _score(call: Call[Any]) -> Rpc:
    upload = call.upload
    assert upload is not None

    head = pb.ScoreRequest(video=upload.video_id or "", top=call.asked["top"], index=call.asked["index"])
    return Rpc("ScoreStream", lambda: _in_pieces(head, upload.rows()), _scored)


def _in_pieces(head: Message, rows: Iterator[bytes]) -> Iterator[Message]:
    """The first message also says what is wanted."""
    yield pb.ScoreRequest(video=head.video, top=head.top, index=head.index, frames=next(rows))
    yield from (pb.ScoreRequest(frames=frames) for frames in rows)


def _similar(call: Call[Any]) -> Rpc:
    named = pb.Segment(video=call.asked["video_id"], start_s=call.asked["start_s"])
    request = pb.SimilarRequest(segment=named, k=call.asked["k"])
    return Rpc("Similar", lambda: request, _alike)


def _similar_to(call: Call[Any]) -> Rpc:
    upload = call.upload
    assert upload is not None
    return Rpc("Similar", lambda: pb.SimilarRequest(frames=b"".join(upload.rows()), **_given(call)), _alike)


def _tags(call: Call[Any]) -> Rpc:
    request = pb.ListTagsRequest(**_given(call))
    return Rpc("ListTags", lambda: request, _listed)


def _video(call: Call[Any]) -> Rpc:
    request = pb.GetVideoRequest(video=call.asked["video_id"], tags=call.asked["tag"])
    return Rpc("GetVideo", lambda: request, _strip)


def _delete(call: Call[Any]) -> Rpc:
    return Rpc("DeleteVideo", lambda: pb.DeleteVideoRequest(video=call.asked["video_id"]), _changed)


def _generations(_: Call[Any]) -> Rpc:
    return Rpc("ListGenerations", pb.ListGenerationsRequest, _numbered)


def _compare(call: Call[Any]) -> Rpc:
    request = pb.CompareGenerationsRequest(**_given(call))
    return Rpc("CompareGenerations", lambda: request, _side_by_side)


def _activate(call: Call[Any]) -> Rpc:
    request = pb.ActivateGenerationRequest(number=call.asked["number"])
    return Rpc("ActivateGeneration", lambda: request, lambda came: _generation(came[0]))


def _model(_: Call[Any]) -> Rpc:
    return Rpc("GetModel", pb.GetModelRequest, _in_use)


def _load_model(call: Call[Any]) -> Rpc:
    return Rpc("LoadModel", lambda: pb.LoadModelRequest(path=call.asked["path"]), _in_use)


def _reindex(call: Call[Any]) -> Rpc:
    asked = call.asked
    request = pb.StartReindexRequest(
        shards=asked["shards"], bundle=asked["bundle"], skip_bad=asked["on_error"] == "skip"
    )
    return Rpc("StartReindex", lambda: request, _job_told)


def _job(call: Call[Any]) -> Rpc:
    return Rpc("GetJob", lambda: pb.GetJobRequest(id=call.asked["job_id"]), _job_told)


def _cancel_job(call: Call[Any]) -> Rpc:
    return Rpc("CancelJob", lambda: pb.CancelJobRequest(id=call.asked["job_id"]), _job_told)


_FORMS: Final = {
    "search": _search, "score": _score, "similar": _similar, "similar_to": _similar_to, "tags": _tags, "video": _video,
    "delete": _delete, "generations": _generations, "compare": _compare, "activate": _activate, "model": _model,
    "load_model": _load_model, "reindex": _reindex, "job": _job, "cancel_job": _cancel_job,
}  # fmt: skip


def _given(call: Call[Any]) -> dict[str, Any]:
    """What is asked for, but for what is left to the service."""
    return {name: value for name, value in call.asked.items() if value is not None}


# Answers, in REST's words


def _searched(came: list[Any]) -> dict[str, Any]:
    head = came[0]
    return {
        "tags": list(map(_tag, head.tags)), "generation": _generation(head.generation), "sequence": head.sequence,
        "complete": head.complete,
        "segments": [
            {"video": hit.video, "start_s": hit.start_s, "score": hit.score} for part in came for hit in part.segments
        ],
        "moments": [
            {"video": found.video, "start_s": found.start_s, "end_s": found.end_s, "score": found.score,
             "peak": segment_id(found.video, found.peak_s)}
            for part in came for found in part.moments
        ],
    }  # fmt: skip


def _scored(came: list[Any]) -> dict[str, Any]:
    (answer,) = came
    segments = [
        {
            "start_s": segment.start_s,
            "tags": [{"tag": tag.tag, "label_index": tag.label_index, "score": tag.score} for tag in segment.tags],
        }
        for segment in answer.segments
    ]
    stored = _stored(answer.stored) if answer.HasField("stored") else None
    return {
        "video": answer.video, "frames": answer.frames, "bundle": _bundle(answer.bundle), "stored": stored,
        "segments": segments,
    }  # fmt: skip


def _alike(came: list[Any]) -> dict[str, Any]:
    (answer,) = came
    segments = [
        {"video": found.video, "start_s": found.start_s, "similarity": found.similarity} for found in answer.segments
    ]
    generation = _generation(answer.generation)
    return {"generation": generation, "sequence": answer.sequence, "recall": answer.recall, "segments": segments}


def _listed(came: list[Any]) -> dict[str, Any]:
    (answer,) = came
    tags = [{**_tag(listing.tag), "segments": listing.segments} for listing in answer.tags]
    return {"generation": answer.generation, "tags": tags}


def _strip(came: list[Any]) -> dict[str, Any]:
    (answer,) = came
    return {
        "video": answer.video, "generation": _generation(answer.generation), "sequence": answer.sequence,
        "starts_s": list(answer.starts_s),
        "tags": [{"tag": _tag(strip.tag), "scores": list(strip.scores)} for strip in answer.tags],
    }  # fmt: skip


def _changed(came: list[Any]) -> dict[str, Any]:
    return _stored(came[0])


def _numbered(came: list[Any]) -> dict[str, Any]:
    return {"serving": came[0].serving, "numbers": list(came[0].numbers)}


def _side_by_side(came: list[Any]) -> dict[str, Any]:
    (answer,) = came
    names = ("k", "compared", "only_a", "only_b", "mean_overlap")
    measures = ("overlap", "gone", "come", "median_move", "largest_move")
    tags = [{"tag": _tag(each.tag), **{name: getattr(each, name) for name in measures}} for each in answer.tags]
    told = {name: getattr(answer, name) for name in names}
    return {"a": _generation(answer.a), "b": _generation(answer.b), **told, "tags": tags}


def _in_use(came: list[Any]) -> dict[str, Any]:
    (model,) = came
    refused = _members(model.refused_load) if model.HasField("refused_load") else None
    return {
        "bundle": _bundle(model.bundle), "provider": model.provider, "precision": model.precision,
        "refused_load": refused,
    }  # fmt: skip


def _job_told(came: list[Any]) -> dict[str, Any]:
    (job,) = came
    return {
        "job": job.id, "state": pb.Job.State.Name(job.state).lower(), "created_at": job.created_at,
        "shards": list(job.shards), "bundle": job.bundle or None,
        "progress": _members(job.progress) if job.HasField("progress") else None,
        "result": _members(job.result) if job.HasField("result") else None, "error": job.error or None,
    }  # fmt: skip


def _members(message: Message) -> dict[str, Any]:
    """Every field by its name; None: an optional one that was left out."""
    return {
        field.name: None if field.has_presence and not message.HasField(field.name) else getattr(message, field.name)
        for field in message.DESCRIPTOR.fields
    }


def _tag(tag: Any) -> dict[str, Any]:
    return {"tag": tag.name, "label_index": tag.label_index, "knowledge_graph_id": tag.knowledge_graph_id}


def _bundle(bundle: Any) -> dict[str, Any]:
    return {"name": bundle.name, "version": bundle.version, "digest": bundle.digest}


def _generation(generation: Any) -> dict[str, Any]:
    names = ("number", "created_at", "segments", "videos", "kept_per_tag")
    return {**{name: getattr(generation, name) for name in names}, "bundle": _bundle(generation.bundle)}


def _stored(stored: Any) -> dict[str, Any]:
    return {"sequence": stored.sequence, "unchanged": stored.unchanged}


# Errors


def outcome_of(code: str, details: str, metadata: Sequence[tuple[str, str | bytes]], url: str, tries: Tries) -> Outcome:
    """What an rpc that failed comes to. code: gRPC's name for it."""
    told = dict(metadata)
    packed = _packed(told)
    info, retry = _first(packed, ErrorInfo), _first(packed, RetryInfo)
    if code == "DEADLINE_EXCEEDED" and (info is None or info.reason == "deadline-passed"):
        return Lost(tries.late(), None)
    if info is None and code == "UNAVAILABLE":  # gRPC's own word, not the service's
        return Lost(ServiceUnreachable(url, details), _reach(details))
    after_s = retry.retry_delay.ToTimedelta().total_seconds() if retry is not None else None
    for_now = after_s is not None or (info is None and details == _CROWDED)
    again = code == "UNAVAILABLE" or (code == "RESOURCE_EXHAUSTED" and for_now)
    request_id = told.get("x-request-id")
    return Refused(
        code, info.reason if info else "no-error-info", details, _facts(info.metadata if info else {}),
        str(request_id) if request_id else None, after_s, Reach.REFUSED if again else None,
    )  # fmt: skip


def _packed(told: Mapping[str, str | bytes]) -> Sequence[Any]:
    try:
        return list(Status.FromString(told.get(_DETAILS, b"")).details)
    except (DecodeError, TypeError):
        return ()


def _first(packed: Sequence[Any], kind: type[Any]) -> Any:
    for one in packed:
        found = kind()
        if one.Unpack(found):
            return found
    return None


def _reach(details: str) -> Reach | None:
    if "CERTIFICATE_VERIFY_FAILED" in details:
        return None
    return Reach.NOWHERE if any(words in details.lower() for words in _NOWHERE) else Reach.UNKNOWN


def _facts(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The facts of an error, as REST tells them."""
    return {name: _fact(name, text) for name, text in metadata.items()}


def _fact(name: str, text: str) -> Any:
    if name in _LISTS:
        return text.splitlines()
    try:
        return float(text) if name in _NUMBERS else text
    except ValueError:
        return text
