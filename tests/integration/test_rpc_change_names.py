"""`idempotency-key` over gRPC: a change that is sent again by it is done once, and heard of as the first time."""

import pytest
from grpc import StatusCode

from segsearch.v1 import search_pb2 as pb
from tests.library_fixtures import make_videos
from tests.rpc_serving import failure, reason, stub_of

FRAMES, OTHER = (video.frames.tobytes() for video in make_videos(2, seed=7, prefix="up"))
FIRST = pb.Stored(sequence=1)


@pytest.fixture
def stub(live):
    with stub_of(live) as opened:
        yield opened


def named(*names: str):
    return {"metadata": [("idempotency-key", name) for name in names]}


def upload(frames=FRAMES, **changed):
    return pb.ScoreRequest(**{"video": "mine", "index": True, "top": 1, "frames": frames, **changed})


def test_what_is_repeated_is_not_done_again(stub, live):
    first = stub.Score(upload(), **named("k1"))
    stub.Score(upload(OTHER))
    assert stub.Score(upload(), **named("k1")) == first
    pieces = iter([upload(FRAMES[:120]), pb.ScoreRequest(frames=FRAMES[120:])])
    assert stub.ScoreStream(pieces, **named("k1")).stored == FIRST, "however its frames are sent"
    deleted = stub.DeleteVideo(pb.DeleteVideoRequest(video="mine"), **named("k2"))
    assert stub.DeleteVideo(pb.DeleteVideoRequest(video="mine"), **named("k2")) == deleted
    assert live.view().sequence == 3


@pytest.mark.parametrize("changed", [{"frames": OTHER}, {"video": "yours"}, {"top": 2}])
def test_a_key_with_another_request_is_refused(stub, live, changed):
    stub.Score(upload(), **named("k1"))
    for refused in (
        failure(stub.Score, upload(**changed), **named("k1")),
        failure(stub.DeleteVideo, pb.DeleteVideoRequest(video="mine"), **named("k1")),
    ):
        assert (refused.code(), reason(refused)) == (StatusCode.INVALID_ARGUMENT, "idempotency-key-reused")
        assert refused.details().startswith("metadata.idempotency-key")
    assert live.view().sequence == 1


@pytest.mark.parametrize("names", [("",), ("x" * 256,), ("a", "b")])
def test_a_key_that_cannot_be_is_named(stub, names):
    for call, request in ((stub.Score, upload()), (stub.DeleteVideo, pb.DeleteVideoRequest(video="mine"))):
        refused = failure(call, request, **named(*names))
        assert (refused.code(), reason(refused)) == (StatusCode.INVALID_ARGUMENT, "invalid-input")
        assert "metadata.idempotency-key" in refused.details()


def test_scoring_alone_changes_nothing_and_needs_no_key(stub):
    assert not stub.Score(upload(index=False), **named("k1")).HasField("stored")
    assert stub.Score(upload(OTHER), **named("k1")).stored == FIRST
