"""What no rpc can answer, over a real server, and what is said in its place."""

import pytest
from google.rpc.error_details_pb2 import BadRequest
from grpc import StatusCode

from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.library import SegmentLibrary
from segsearch.service.settings import Settings
from segsearch.v1 import search_pb2 as pb
from tests.library_fixtures import make_videos
from tests.rpc_serving import details, failure, info, reason, stub_of
from tests.tiny_model import SPEC

VIDEO = make_videos(1, seed=7, prefix="up")[0]
FRAMES = VIDEO.frames.tobytes()
FRAME_LIMIT = 200
WRONG = {
    "no tag": ("Search", pb.SearchRequest(), "tag"),
    "a tag that is too long": ("Search", pb.SearchRequest(tag="x" * 1001), "tag"),
    "half a query": ("Search", pb.SearchRequest(tag="Rain and"), "tag"),
    "no segments": ("Search", pb.SearchRequest(tag="Rain", k=0), "k"),
    "fewer than none": ("Search", pb.SearchRequest(tag="Rain", k=-1), "k"),
    "more than a page": ("Search", pb.SearchRequest(tag="Rain", k=10_001), "k"),
    "more than there can be": ("SearchStream", pb.SearchRequest(tag="Rain", k=100_001), "k"),
    "a score beyond one": ("Search", pb.SearchRequest(tag="Rain", min_score=1.5), "min_score"),
    "a score that is none": ("Search", pb.SearchRequest(tag="Rain", min_score=float("nan")), "min_score"),
    "none of each video": ("Search", pb.SearchRequest(tag="Rain", per_video=0), "per_video"),
    "moments of a page": ("Search", pb.SearchRequest(tag="Rain", merge=True, page_token="x"), "page_token"),
    "neighbours of nothing": ("Similar", pb.SimilarRequest(), "query"),
    "neighbours of half a frame": ("Similar", pb.SimilarRequest(frames=FRAMES[:-1]), "frames"),
    "no neighbours": ("Similar", pb.SimilarRequest(frames=FRAMES, k=0), "k"),
    "more neighbours than anybody has": ("Similar", pb.SimilarRequest(frames=FRAMES, k=1001), "k"),
    "neighbours of what was before": ("Similar", pb.SimilarRequest(frames=FRAMES, start_s=-5), "start_s"),
    "a segment and a start": ("Similar", pb.SimilarRequest(segment=pb.Segment(video="v001"), start_s=5), "start_s"),
    "no shards": ("StartReindex", pb.StartReindexRequest(), "shards"),
    "no bundle": ("LoadModel", pb.LoadModelRequest(), "path"),
    "a long prefix": ("ListTags", pb.ListTagsRequest(prefix="x" * 257), "prefix"),
    "no tags to list": ("ListTags", pb.ListTagsRequest(limit=0), "limit"),
    "too many tags to list": ("ListTags", pb.ListTagsRequest(limit=1001), "limit"),
    "a strip without tags": ("GetVideo", pb.GetVideoRequest(video="v001"), "tags"),
    "a strip of too many": ("GetVideo", pb.GetVideoRequest(video="v001", tags=["Rain"] * 101), "tags"),
    "an id that is too long": ("DeleteVideo", pb.DeleteVideoRequest(video="x" * 257), "video"),
    "generation 0": ("ActivateGeneration", pb.ActivateGenerationRequest(number=0), "number"),
    "a generation beyond": ("ActivateGeneration", pb.ActivateGenerationRequest(number=1 << 40), "number"),
    "no frames": ("Score", pb.ScoreRequest(), "frames"),
    "half a frame": ("Score", pb.ScoreRequest(frames=FRAMES[:-1]), "frames"),
    "no tags of a segment": ("Score", pb.ScoreRequest(frames=FRAMES, top=0), "top"),
    "an id with a blank": ("Score", pb.ScoreRequest(frames=FRAMES, video="a b"), "video"),
}


@pytest.fixture(scope="module")
def stub(served_library):
    with stub_of(served_library, Settings(frame_limit=FRAME_LIMIT, body_limit_bytes=100_000, shutdown_s=5)) as opened:
        yield opened


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_used_is_named(stub, what):
    method, request, field = WRONG[what]
    error = failure(getattr(stub, method), request)
    assert (error.code(), reason(error)) == (StatusCode.INVALID_ARGUMENT, "invalid-input")
    (bad,) = details(error, BadRequest)
    assert [fault.field for fault in bad.field_violations] == [field]
    assert "wanted" in error.details()


def test_an_unknown_tag_comes_with_the_nearest_ones(stub):
    error = failure(stub.Search, pb.SearchRequest(tag="Dog barks"))
    assert (error.code(), reason(error)) == (StatusCode.NOT_FOUND, "unknown-tag")
    assert "Dog bark" in info(error).metadata["nearest"].split("\n")


def test_a_generation_that_is_not_there_is_named_without_a_path(stub, served_library):
    error = failure(stub.ActivateGeneration, pb.ActivateGenerationRequest(number=99))
    assert (error.code(), reason(error)) == (StatusCode.NOT_FOUND, "unknown-generation")
    assert str(served_library.index.root) not in f"{error.details()}{info(error)}"


def test_a_server_that_only_searches_says_so(stub):
    for method, request in (
        ("Score", pb.ScoreRequest(video="mine", frames=FRAMES, index=True)),
        ("DeleteVideo", pb.DeleteVideoRequest(video="v001")),
    ):
        error = failure(getattr(stub, method), request)
        assert (error.code(), reason(error)) == (StatusCode.FAILED_PRECONDITION, "not-indexing")


def test_a_video_that_is_too_long_is_refused_in_one_message_and_in_many(stub):
    frame = bytes(SPEC.size)
    whole = failure(stub.Score, pb.ScoreRequest(frames=frame * (FRAME_LIMIT + 1)))
    many = failure(stub.ScoreStream, (pb.ScoreRequest(frames=frame) for _ in range(FRAME_LIMIT + 50)))
    for error in (whole, many):
        assert (error.code(), reason(error)) == (StatusCode.RESOURCE_EXHAUSTED, "too-large")


def test_a_stream_without_a_message_and_options_in_the_middle_are_refused(stub):
    assert "no message" in failure(stub.ScoreStream, iter(())).details()
    again = [pb.ScoreRequest(frames=FRAMES), pb.ScoreRequest(frames=FRAMES, top=3)]
    assert "options again" in failure(stub.ScoreStream, iter(again)).details()


def test_an_index_without_a_generation_can_be_scored_with_but_not_searched(scorer, tmp_path):
    (tmp_path / "index").mkdir()
    with stub_of(SegmentLibrary(scorer, IndexDirectory(tmp_path / "index"))) as stub:
        error = failure(stub.Search, pb.SearchRequest(tag="Rain"))
        assert (error.code(), reason(error)) == (StatusCode.UNAVAILABLE, "no-generation")
        assert stub.Score(pb.ScoreRequest(frames=FRAMES)).frames == len(VIDEO.frames)
