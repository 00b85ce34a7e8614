"""Clients that leave, that are slow, and that mean no good, over a real gRPC server; and what the server says of it."""

import threading
import time
import weakref
from concurrent.futures import Future
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from segsearch.core.bundle import Bundle
from segsearch.core.errors import QueueFull
from segsearch.service.library import SegmentLibrary
from segsearch.service.rpc import calls
from segsearch.service.scoring.scorer import NOBODY, Caller, Scores
from segsearch.service.settings import Settings
from segsearch.v1 import search_pb2 as pb
from segsearch.v1.search_pb2_grpc import SegmentSearchStub
from tests.plain_scorer import PlainScorer
from tests.rpc_serving import TIMEOUT_S, details, failure, info, reason, rpc_serving, stub_of
from tests.tiny_model import SPEC

FRAMES = bytes(5 * SPEC.size)
LIMIT_BYTES = 100_000
PREFIX = "/segsearch.v1.SegmentSearch"


class Held(PlainScorer):
    """Scores nothing before it is let, as a device that is busy; counts what reaches the device."""

    def __init__(self, bundle: Bundle):
        super().__init__(bundle)
        self.let = threading.Event()
        self.waiting: list[Future[Scores]] = []
        self.scored = 0
        self.callers: list[Caller] = []

    def check_room(self, caller: Caller) -> None:
        """There always is."""

    def submit(self, frames: np.ndarray, caller: Caller = NOBODY) -> Future[Scores]:
        scores: Future[Scores] = Future()
        self.waiting.append(scores)
        self.callers.append(caller)
        threading.Thread(target=self._later, args=(scores, frames), daemon=True).start()
        return scores

    def _later(self, scores: Future[Scores], frames: np.ndarray) -> None:
        self.let.wait(TIMEOUT_S)
        if scores.set_running_or_notify_cancel():
            self.scored += 1
            scores.set_result(self.score(frames))


@pytest.fixture
def held(tiny_bundle):
    scorer = Held(tiny_bundle)
    yield scorer
    scorer.let.set()


@pytest.fixture
def busy(held, index):
    """A server whose device is busy."""
    with rpc_serving(SegmentLibrary(held, index), Settings(body_limit_bytes=LIMIT_BYTES, shutdown_s=5)) as channel:
        yield channel
        held.let.set()


@pytest.fixture(scope="module")
def channel(served_library):
    settings = Settings(body_limit_bytes=LIMIT_BYTES, frame_limit=100_000, shutdown_s=5)
    with rpc_serving(served_library, settings) as opened:
        yield opened


def until(holds, what="it"):
    deadline = time.monotonic() + TIMEOUT_S
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.01)


# Those who leave


def test_what_a_client_has_left_before_its_turn_never_reaches_the_device(busy, held):
    stub = SegmentSearchStub(busy)
    call = stub.Score.future(pb.ScoreRequest(frames=FRAMES))
    until(lambda: held.waiting, "an upload")
    call.cancel()
    until(lambda: held.waiting[0].cancelled(), "cancelling")
    held.let.set()
    stub.Score(pb.ScoreRequest(frames=FRAMES), timeout=TIMEOUT_S)
    assert held.scored == 1


def test_a_deadline_is_told_to_the_queue_and_what_passes_it_never_reaches_the_device(busy, held):
    stub = SegmentSearchStub(busy)
    with pytest.raises(grpc.RpcError) as raised:
        stub.Score(pb.ScoreRequest(frames=FRAMES), timeout=0.3)
    assert raised.value.code() is StatusCode.DEADLINE_EXCEEDED
    until(lambda: held.waiting[0].cancelled(), "cancelling")
    assert held.callers[0].until_s is not None
    held.let.set()
    stub.Score(pb.ScoreRequest(frames=FRAMES), timeout=TIMEOUT_S)
    assert held.scored == 1


def test_a_call_without_a_deadline_waits_as_long_as_it_takes(busy, held):
    call = SegmentSearchStub(busy).Score.future(pb.ScoreRequest(frames=FRAMES))
    until(lambda: held.callers, "an upload")
    assert held.callers[0].until_s is None
    assert held.callers[0].client in ("127.0.0.1", "::1")
    held.let.set()
    assert call.result(TIMEOUT_S).frames == 5


def test_an_upload_stream_that_breaks_off_leaves_nothing(channel):
    begun, stop = threading.Event(), threading.Event()

    def half():
        yield pb.ScoreRequest(video="half", frames=FRAMES, index=True)
        begun.set()
        stop.wait(TIMEOUT_S)

    stub = SegmentSearchStub(channel)
    call = stub.ScoreStream.future(half())
    assert begun.wait(TIMEOUT_S)
    call.cancel()
    stop.set()
    assert reason(failure(stub.GetVideo, pb.GetVideoRequest(video="half", tags=["Rain"]))) == "unknown-video"


# Those who are slow


def test_scoring_leaves_threads_to_searches_and_calls_to_others_and_says_when_it_takes_no_more(held, index, keys):
    def score(key):
        return stub.Score.future(pb.ScoreRequest(frames=FRAMES), metadata=[("x-api-key", keys[key])])

    with stub_of(SegmentLibrary(held, index), Settings(shutdown_s=5, keys=Path(keys["file"]))) as stub:
        waiting = [score("write") for _ in range(calls.SCORING_LIMIT // 2)]
        until(lambda: len(held.waiting) == len(waiting), "waiting")
        error = score("write").exception(TIMEOUT_S)
        assert (error.code(), reason(error)) == (StatusCode.UNAVAILABLE, "too-many-calls")
        assert details(error, RetryInfo)[0].retry_delay.seconds == 1
        waiting.append(score("admin"))
        until(lambda: len(held.waiting) == len(waiting), "waiting")
        read = [("x-api-key", keys["read"])]
        assert stub.Search(pb.SearchRequest(tag="Rain"), timeout=TIMEOUT_S, metadata=read).segments
        held.let.set()
        assert [call.result(TIMEOUT_S).frames for call in waiting] == [5] * len(waiting)


class Full(PlainScorer):
    """Has no room; tells what becomes of the frames that it was asked to score."""

    def __init__(self, bundle: Bundle):
        super().__init__(bundle)
        self.asked = list[weakref.ref[np.ndarray]]()

    def check_room(self, caller: Caller) -> None:
        """As if there were some."""

    def submit(self, frames: np.ndarray, _: Caller = NOBODY) -> Future[Scores]:
        self.asked.append(weakref.ref(frames))
        raise QueueFull(1, 1, 1)


def test_whoever_waits_to_be_refused_keeps_no_frames(tiny_bundle, index, monkeypatch):
    monkeypatch.setattr("segsearch.service.refusals.LONGEST_S", 1000.0)
    monkeypatch.setattr("segsearch.service.refusals.PER_S", 0.001)
    scorer = Full(tiny_bundle)
    with stub_of(SegmentLibrary(scorer, index)) as stub:
        assert reason(failure(stub.Score, pb.ScoreRequest(frames=FRAMES))) == "queue-full"
        waiting = []
        for number in range(1, calls.SCORING_LIMIT + 2):  # who waits is not counted among those who score
            waiting.append(stub.Score.future(pb.ScoreRequest(frames=FRAMES)))
            until(lambda number=number: len(scorer.asked) > number and scorer.asked[number]() is None, "letting go")
        assert not any(call.done() for call in waiting)


def test_a_request_that_does_not_come_is_not_waited_for_for_ever(served_library, monkeypatch):
    monkeypatch.setattr("segsearch.service.rpc.methods.REQUEST_S", 0.2)
    done = threading.Event()

    def nothing():
        done.wait(TIMEOUT_S)
        yield b""

    with rpc_serving(served_library, Settings(shutdown_s=5)) as channel:
        error = failure(channel.stream_unary(f"{PREFIX}/ListTags"), nothing())
        done.set()
        assert error.code() is StatusCode.CANCELLED  # by the server: the client had half a minute


def test_frames_that_trickle_are_cut_with_a_word(served_library):
    def trickle():
        while True:
            yield pb.ScoreRequest(frames=FRAMES)
            time.sleep(0.2)

    with stub_of(served_library, Settings(body_timeout_s=1, shutdown_s=5)) as stub:
        error = failure(stub.ScoreStream, trickle())
        assert (error.code(), reason(error)) == (StatusCode.DEADLINE_EXCEEDED, "too-slow")


# Those who mean no good


def raw(channel: grpc.Channel, method: str, body: bytes, **named: object) -> grpc.RpcError:
    """The failure of a call whose request is these bytes."""
    return failure(channel.unary_unary(f"{PREFIX}/{method}"), body, **named)


@pytest.mark.parametrize("method", ["Search", "SearchStream", "Score", "ScoreStream", "ListTags", "ActivateGeneration"])
@pytest.mark.parametrize("body", [b"\xff" * 20, b"\x0a\xff\xff\xff\xff\x0f", b"\x0b" * 1000, b"\x0a\x02\xff\xff"])
def test_bytes_that_are_no_message_are_invalid(channel, method, body):
    error = raw(channel, method, body)
    assert (error.code(), reason(error)) == (StatusCode.INVALID_ARGUMENT, "invalid-input")


def test_a_message_that_is_too_long_is_refused_before_it_is_read(channel):
    error = raw(channel, "Score", bytes(2 * LIMIT_BYTES))
    assert error.code() is StatusCode.RESOURCE_EXHAUSTED


def test_a_long_request_without_frames_is_refused_unparsed(served_library):
    many = pb.GetVideoRequest(video="v001", tags=[""] * 600_000).SerializeToString()
    with rpc_serving(served_library, Settings(shutdown_s=5)) as wide:
        error = raw(wide, "GetVideo", many)
        assert (error.code(), reason(error)) == (StatusCode.RESOURCE_EXHAUSTED, "too-large")


def test_a_compressed_request_is_refused_and_not_inflated(served_library):
    bomb = pb.ScoreRequest(frames=bytes(60_000_000)).SerializeToString()
    with rpc_serving(served_library, Settings(shutdown_s=5)) as channel:
        error = raw(channel, "Score", bomb, compression=grpc.Compression.Gzip)
        assert error.code() is StatusCode.UNIMPLEMENTED
        assert SegmentSearchStub(channel).ListTags(pb.ListTagsRequest(), timeout=TIMEOUT_S).tags


def test_fields_that_are_not_known_are_let_be(channel):
    known = pb.SearchRequest(tag="Rain", k=3).SerializeToString()
    answer = channel.unary_unary(f"{PREFIX}/Search")(known + b"\xfa\x7f\x03abc" * 100, timeout=TIMEOUT_S)
    assert len(pb.SearchResponse.FromString(answer).segments) == 3


def test_a_method_that_is_not_there_is_unimplemented(channel):
    for path in (f"{PREFIX}/Forgotten", "/segsearch.v1.Nothing/Search", "/"):
        assert failure(channel.unary_unary(path), b"").code() is StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("text", ["\x00", "\u2028\n\r", "a" * 900 + "\U0001f600", "%2e%2e/", "'; --", "<b>&"])
def test_odd_texts_are_only_unknown_tags(channel, text):
    error = failure(SegmentSearchStub(channel).GetVideo, pb.GetVideoRequest(video="v001", tags=[text]))
    assert (error.code(), reason(error)) == (StatusCode.NOT_FOUND, "unknown-tag")


def test_a_bug_is_an_incident_and_shows_nothing(tiny_bundle, index):
    class Broken(PlainScorer):
        def score(self, frames: np.ndarray) -> Scores:
            raise ZeroDivisionError(f"/a/secret/path of {len(frames)} frames")

    with stub_of(SegmentLibrary(Broken(tiny_bundle), index)) as stub:
        error = failure(stub.Score, pb.ScoreRequest(frames=FRAMES))
    assert (error.code(), reason(error)) == (StatusCode.INTERNAL, "internal")
    assert "secret" not in f"{error.details()}{error.trailing_metadata()}"


# What the server says of itself


def test_the_server_describes_itself(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    assert set(database.get_services()) == {
        "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection", "inference.GRPCInferenceService",
        "segsearch.v1.SegmentSearch",
    }  # fmt: skip
    described = database.FindFileContainingSymbol("segsearch.v1.SegmentSearch")
    assert [method.name for method in described.service[0].method][:2] == ["Search", "SearchStream"]


def test_reflection_takes_a_few_callers_at_a_time(served_library):
    stop = threading.Event()

    def asks():
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        stop.wait(TIMEOUT_S)

    with rpc_serving(served_library, Settings(shutdown_s=5)) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        open_ = [stub.ServerReflectionInfo(asks(), timeout=TIMEOUT_S) for _ in range(calls.REFLECTION_LIMIT // 2)]
        for each in open_:
            next(each)
        refused = [failure(stub.ServerReflectionInfo, asks()) for _ in range(calls.PUBLIC_LIMIT)]
        assert {reason(error) for error in refused} == {"too-many-calls"}
        assert info(refused[0]).metadata["limit"] == str(len(open_))
        assert SegmentSearchStub(channel).ListTags(pb.ListTagsRequest(), timeout=TIMEOUT_S).tags
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        stop.set()


def test_reflection_ends_however_often_it_is_asked_something(served_library, monkeypatch):
    monkeypatch.setattr("segsearch.service.rpc.server.REFLECTION_S", 0.5)
    stop = threading.Event()

    def asks():
        while not stop.wait(0.1):
            yield reflection_pb2.ServerReflectionRequest(list_services="")

    with rpc_serving(served_library, Settings(shutdown_s=5)) as channel:
        error = failure(reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo, asks())
        stop.set()
        assert error.code() is StatusCode.CANCELLED  # by the server: the client had half a minute
