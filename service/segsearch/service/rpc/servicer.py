"""The methods of `SegmentSearch`: each converts, asks the library, and converts back.

Where it stands: `methods` gives them to gRPC; `requests` and `messages` know what the messages mean.
"""

import time
from collections.abc import Iterator
from typing import Final

import grpc
from google.protobuf.message import Message

from segsearch.core.segments import segment_count
from segsearch.service.bounded import asked_for
from segsearch.service.index.view import View
from segsearch.service.library import SEARCH_LIMIT, Begun, SegmentLibrary
from segsearch.service.page_making import check_tags
from segsearch.service.page_tokens import PageTokens, question_of
from segsearch.service.pages import SimilarPage
from segsearch.service.rpc import messages
from segsearch.service.rpc.calls import REQUEST_S, Call, Calls
from segsearch.service.rpc.change_names import deletion_name, upload_name
from segsearch.service.rpc.hot_answers import HotAnswers
from segsearch.service.rpc.methods import client_streaming, decoded, plain, server_streaming, unary
from segsearch.service.rpc.requests import (
    PAGE_LIMIT,
    Pair,
    Query,
    Upload,
    UploadReader,
    bundle_path,
    generation_number,
    named_segment,
    neighbour_count,
    prefix_and_limit,
    reindex_wish,
    start_of_frames,
    video_and_tags,
    video_id,
)  # fmt: skip
from segsearch.service.scoring.scorer import Caller
from segsearch.service.settings import Settings
from segsearch.service.uploads.upload import Rules
from segsearch.v1 import search_pb2 as pb

SERVICE: Final = pb.DESCRIPTOR.services_by_name["SegmentSearch"].full_name
LATE_S: Final = 5.0  # how long after the last moment for frames a silent client is cut, who could not be told

_NO_DEADLINE_S: Final = 365 * 86_400.0  # gRPC counts the end of time for a deadline


class Servicer:
    """Answers from a library. Methods may be called from any number of threads; `search.proto` says what each does."""

    def __init__(self, library: SegmentLibrary, settings: Settings, calls: Calls):
        self._library, self._calls = library, calls
        self._hot, self._tokens = HotAnswers(), PageTokens(library.index.root)
        rules = Rules(library.scorer.bundle.manifest.features, settings.frame_limit)
        self._uploads = UploadReader(rules, settings.body_limit_bytes, settings.body_timeout_s)

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """By method: what a gRPC server runs."""
        calls, upload_s = self._calls, self._uploads.limit_s + LATE_S
        return {
            "Search": unary(calls, "Search", REQUEST_S, self._search),
            "SearchStream": server_streaming(calls, "SearchStream", self._search_stream),
            "Score": unary(calls, "Score", upload_s, self._score_one),
            "ScoreStream": client_streaming(calls, "ScoreStream", self._score_stream),
            "Similar": unary(calls, "Similar", upload_s, self._similar),
            "ListTags": plain(calls, "ListTags", pb.ListTagsRequest, self._list_tags),
            "GetVideo": plain(calls, "GetVideo", pb.GetVideoRequest, self._get_video),
            "DeleteVideo": unary(calls, "DeleteVideo", REQUEST_S, self._delete_video),
            "ListGenerations": plain(calls, "ListGenerations", pb.ListGenerationsRequest, self._list_generations),
            "CompareGenerations": plain(
                calls, "CompareGenerations", pb.CompareGenerationsRequest, self._compare_generations
            ),
            "ActivateGeneration": plain(
                calls, "ActivateGeneration", pb.ActivateGenerationRequest, self._activate_generation,
                lambda request: asked_for(number=request.number),
            ),
            "GetModel": plain(calls, "GetModel", pb.GetModelRequest, self._get_model),
            "LoadModel": plain(
                calls, "LoadModel", pb.LoadModelRequest, self._load_model, lambda request: asked_for(path=request.path)
            ),
            "StartReindex": plain(
                calls, "StartReindex", pb.StartReindexRequest, self._start_reindex,
                lambda request: asked_for(
                    shards=request.shards, bundle=request.bundle or None, skip_bad=request.skip_bad
                ),
            ),
            "GetJob": plain(calls, "GetJob", pb.GetJobRequest, self._get_job),
            "CancelJob": plain(
                calls, "CancelJob", pb.CancelJobRequest, self._cancel_job, lambda request: asked_for(id=request.id)
            ),
        }  # fmt: skip

    def _search(self, question: bytes, _: Call) -> bytes:
        # Looked for by its bytes before anybody reads them: making the answer would take as long as gRPC takes for all.
        view = self._library.view()
        answer = self._hot.get(view, question)
        if answer is None:
            query = Query.of(decoded(pb.SearchRequest, question), PAGE_LIMIT)
            answer = next(self._found(view, query)).SerializeToString()
            self._hot.put(view, question, answer)
        return answer

    def _search_stream(self, incoming: Iterator[bytes], call: Call) -> Iterator[bytes]:
        query = Query.of(decoded(pb.SearchRequest, call.request(incoming)), SEARCH_LIMIT)
        return (message.SerializeToString() for message in self._found(self._library.view(), query))

    def _found(self, view: View, query: Query) -> Iterator[pb.SearchResponse]:
        tag, k, least, most = query.tag, query.k, query.min_score, query.per_video
        if query.merge:
            return messages.search_messages(
                self._library.moments(tag, k, min_score=least, per_video=most, view=view), next_page_token=""
            )
        question = question_of(tag, least, most)
        after = self._tokens.open(query.page_token, question, "page_token") if query.page_token else None
        page = self._library.search(tag, k, min_score=least, per_video=most, after=after, view=view)
        return messages.search_messages(page, self._tokens.seal(page.following, question) if page.following else "")

    def _score_one(self, message: bytes, call: Call) -> bytes:
        return self._score(self._uploads.read([decoded(pb.ScoreRequest, message, None)]), call)

    def _score_stream(self, incoming: Iterator[bytes], call: Call) -> bytes:
        self._library.check_room(caller_of(call))  # whoever is refused anyway need not send frames
        parts = call.requests(incoming, self._uploads.limit_s + LATE_S)
        return self._score(self._uploads.read(decoded(pb.ScoreRequest, part, None) for part in parts), call)

    def _score(self, upload: Upload, call: Call) -> bytes:
        call.check_wanted()
        name = upload_name(call, upload)
        check_tags(self._library.scorer.bundle, len(upload.frames), upload.top, "top")
        begun = self._library.begin(upload.frames, caller_of(call), add_as=upload.video_id if upload.index else None)
        call.when_over(begun.scores.cancel)
        scored, stored = self._library.finish(begun, upload.top, name)
        self._calls.metrics.scored_segments.inc(len(scored.starts))
        return messages.score_bytes(upload, scored, stored)

    def _similar(self, message: bytes, call: Call) -> bytes:
        request, caller = decoded(pb.SimilarRequest, message, None), caller_of(call)
        k = neighbour_count(request)
        call.check_wanted()
        begun: SimilarPage | Begun
        if request.HasField("frames"):
            start_s = start_of_frames(request)
            begun = self._library.begin_similar(self._uploads.frames(request.frames), caller)
        else:
            video, start_s = named_segment(request)
            begun = self._library.begin_similar_segment(video, start_s, k, caller)
        if isinstance(begun, SimilarPage):
            return _bytes(messages.similar_message(begun))
        call.when_over(begun.scores.cancel)
        page = self._library.similar_of(begun, start_s, k)
        self._calls.metrics.scored_segments.inc(segment_count(len(begun.frames)))
        return _bytes(messages.similar_message(page))

    def _list_tags(self, request: pb.ListTagsRequest) -> Message:
        return messages.tags_message(self._library.tags(*prefix_and_limit(request)))

    def _get_video(self, request: pb.GetVideoRequest) -> Message:
        return messages.video_message(self._library.strip(*video_and_tags(request)))

    def _delete_video(self, message: bytes, call: Call) -> bytes:
        call.video = video_id(decoded(pb.DeleteVideoRequest, message).video)
        return _bytes(messages.stored_message(self._library.delete(call.video, deletion_name(call, call.video))))

    def _list_generations(self, _: pb.ListGenerationsRequest) -> Message:
        serving = self._library.view().manifest.number
        return pb.ListGenerationsResponse(serving=serving, numbers=self._library.index.numbers())

    def _compare_generations(self, request: pb.CompareGenerationsRequest) -> Message:
        wish = Pair.of(request)
        return messages.comparison_message(self._library.compare(wish.a, wish.b, wish.k), wish.limit)

    def _activate_generation(self, request: pb.ActivateGenerationRequest) -> Message:
        return messages.generation_message(self._library.activate(generation_number(request.number)))

    def _get_model(self, _: pb.GetModelRequest) -> Message:
        return messages.model_message(self._library.scorer, self._library.refused_load)

    def _load_model(self, request: pb.LoadModelRequest) -> Message:
        self._library.load(bundle_path(request))
        return messages.model_message(self._library.scorer, self._library.refused_load)

    def _start_reindex(self, request: pb.StartReindexRequest) -> Message:
        wish = reindex_wish(request)
        return messages.job_message(self._library.jobs.start(wish, self._library.scorer.bundle))

    def _get_job(self, request: pb.GetJobRequest) -> Message:
        return messages.job_message(self._library.jobs.job(request.id))

    def _cancel_job(self, request: pb.CancelJobRequest) -> Message:
        return messages.job_message(self._library.jobs.cancel(request.id))


def _bytes(message: Message) -> bytes:
    serialised: bytes = message.SerializeToString()
    return serialised


def caller_of(call: Call) -> Caller:
    """Whose turn a call takes, and until when it waits."""
    left_s = call.context.time_remaining()
    return Caller(call.client, time.monotonic() + left_s if left_s < _NO_DEADLINE_S else None)
