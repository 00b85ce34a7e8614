"""Who may call what, rpc by rpc, over a real server: no key, a wrong one, and one of each scope."""

import json
import logging
import threading
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from segsearch.inference import open_inference_pb2 as oip
from segsearch.inference.open_inference_pb2_grpc import GRPCInferenceServiceStub
from segsearch.service.rest.metrics import Metrics
from segsearch.service.rpc.access import NEEDS, key_of
from segsearch.service.rpc.server import THREADS, RpcServer
from segsearch.service.security.guard import Guard
from segsearch.service.security.key_file import add_key
from segsearch.service.security.keys import Scope, make_key
from segsearch.service.settings import Settings
from segsearch.v1 import search_pb2 as pb
from segsearch.v1.search_pb2_grpc import SegmentSearchStub
from tests.rpc_serving import TIMEOUT_S, details, failure, reason, rpc_serving
from tests.tiny_model import SPEC

FRAMES = pb.ScoreRequest(frames=bytes(3 * SPEC.size))
# Every method with what it asks of a key and a request that succeeds.
METHODS = {
    "Search": ("read", pb.SearchRequest(tag="Rain")),
    "SearchStream": ("read", pb.SearchRequest(tag="Rain")),
    "Score": ("write", FRAMES),
    "ScoreStream": ("write", [FRAMES]),
    "Similar": ("read", pb.SimilarRequest(frames=FRAMES.frames)),
    "ListTags": ("read", pb.ListTagsRequest()),
    "GetVideo": ("read", pb.GetVideoRequest(video="v001", tags=["Rain"])),
    "DeleteVideo": ("write", pb.DeleteVideoRequest(video="v001")),
    "ListGenerations": ("read", pb.ListGenerationsRequest()),
    "CompareGenerations": ("read", pb.CompareGenerationsRequest(a=1, b=1)),
    "ActivateGeneration": ("admin", pb.ActivateGenerationRequest(number=1)),
    "GetModel": ("read", pb.GetModelRequest()),
    "LoadModel": ("admin", pb.LoadModelRequest(path="one")),
    "StartReindex": ("admin", pb.StartReindexRequest(shards=["*.tfrecord"])),
    "GetJob": ("read", pb.GetJobRequest(id="x")),
    "CancelJob": ("admin", pb.CancelJobRequest(id="x")),
}
# The same of the Open Inference Protocol.
INPUT = oip.ModelInferRequest.InferInputTensor(name="frames", datatype="UINT8", shape=[3, SPEC.size])
INFERENCE_METHODS = {
    "ServerLive": (None, oip.ServerLiveRequest()),
    "ServerReady": (None, oip.ServerReadyRequest()),
    "ServerMetadata": (None, oip.ServerMetadataRequest()),
    "ModelReady": (None, oip.ModelReadyRequest(name="tiny")),
    "ModelMetadata": ("read", oip.ModelMetadataRequest(name="tiny")),
    "ModelInfer": (
        "write", oip.ModelInferRequest(model_name="tiny", inputs=[INPUT], raw_input_contents=[FRAMES.frames]),
    ),
}  # fmt: skip
ALL = METHODS | INFERENCE_METHODS
CALLERS = ("none", "wrong", "read", "write", "admin")


@pytest.fixture(scope="module")
def channel(served_library, keys):
    with rpc_serving(served_library, Settings(keys=Path(keys["file"]), shutdown_s=5)) as opened:
        yield opened


def outcome(channel: grpc.Channel, method: str, metadata: list[tuple[str, str]]) -> StatusCode:
    """The code that a call ends with."""
    request = ALL[method][1]
    stub = (SegmentSearchStub if method in METHODS else GRPCInferenceServiceStub)(channel)
    try:
        answer = getattr(stub, method)(
            iter(request) if isinstance(request, list) else request, metadata=metadata, timeout=TIMEOUT_S
        )
        if method == "SearchStream":
            list(answer)
    except grpc.RpcError as error:
        return error.code()
    return StatusCode.OK


def bearer(key: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {key}")]


def wanted(method: str, caller: str) -> StatusCode:
    if ALL[method][0] is None:
        return StatusCode.OK
    if caller in ("none", "wrong"):
        return StatusCode.UNAUTHENTICATED
    order = ["read", "write", "admin"]
    if order.index(caller) < order.index(ALL[method][0]):
        return StatusCode.PERMISSION_DENIED
    # This server only searches, with the one bundle that it has.
    refused = ("DeleteVideo", "LoadModel", "StartReindex", "GetJob", "CancelJob")
    return StatusCode.FAILED_PRECONDITION if method in refused else StatusCode.OK


@pytest.mark.parametrize("caller", CALLERS)
def test_each_caller_gets_what_each_method_allows(channel, keys, caller):
    metadata = bearer(keys[caller]) if caller != "none" else []
    assert {m: outcome(channel, m, metadata) for m in ALL} == {m: wanted(m, caller) for m in ALL}


def test_no_method_is_missing_here():
    for methods, service in (
        (METHODS, pb.DESCRIPTOR.services_by_name["SegmentSearch"]),
        (INFERENCE_METHODS, oip.DESCRIPTOR.services_by_name["GRPCInferenceService"]),
    ):
        assert set(methods) == {method.name for method in service.methods}
    others = dict.fromkeys(("Check", "Watch", "ServerReflectionInfo"))
    assert {method: scope for method, (scope, _) in ALL.items()} | others == NEEDS


def test_health_needs_no_key(channel):
    answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize(
    "metadata",
    [
        [("authorization", "Basic cmVhZDpyZWFk")],
        [("authorization", "Bearer")],
        [("authorization", "")],
        [("x-api-key", "")],
        [("x-api-key", "x" * 4_000)],
        [("authorization", "Bearer segsearch.read.0")],
    ],
)
def test_metadata_that_is_no_key_is_unauthorised(channel, metadata):
    error = failure(SegmentSearchStub(channel).ListTags, pb.ListTagsRequest(), metadata=metadata)
    assert (error.code(), reason(error)) == (StatusCode.UNAUTHENTICATED, "unauthorised")


def test_a_key_may_come_in_either_way_but_not_in_both(channel, keys):
    assert outcome(channel, "ListTags", [("x-api-key", keys["read"])]) is StatusCode.OK
    assert outcome(channel, "ListTags", [("authorization", f"bearer {keys['read']}")]) is StatusCode.OK
    both = [("x-api-key", keys["read"]), *bearer(keys["admin"])]
    assert outcome(channel, "ListTags", both) is StatusCode.UNAUTHENTICATED
    assert key_of([("user-agent", "x")]) is None


def test_without_a_key_the_request_is_not_waited_for(channel):
    """The client sends nothing, and does not say that it is done either."""
    answered = threading.Event()

    def silence():
        answered.wait(TIMEOUT_S)
        yield FRAMES

    error = failure(SegmentSearchStub(channel).ScoreStream, silence())
    answered.set()
    assert error.code() is StatusCode.UNAUTHENTICATED


def test_a_key_that_is_taken_out_is_refused_from_then_on(served_library, tmp_path):
    key, kept = make_key("anna", Scope.read)
    add_key(tmp_path / "keys", kept)
    with rpc_serving(served_library, Settings(keys=tmp_path / "keys", shutdown_s=5)) as channel:
        assert outcome(channel, "ListTags", bearer(key)) is StatusCode.OK
        (tmp_path / "keys").write_text("# nobody\n")
        assert outcome(channel, "ListTags", bearer(key)) is StatusCode.UNAUTHENTICATED


def test_a_key_that_asks_too_often_is_told_when_to_come_back(served_library, keys):
    settings = Settings(keys=Path(keys["file"]), rate_per_s=0.1, rate_burst=2, shutdown_s=5)
    with rpc_serving(served_library, settings) as channel:
        assert [outcome(channel, "ListTags", bearer(keys["read"])) for _ in range(2)] == [StatusCode.OK] * 2
        stub = SegmentSearchStub(channel)
        error = failure(stub.ListTags, pb.ListTagsRequest(), metadata=bearer(keys["read"]))
        assert (error.code(), reason(error)) == (StatusCode.RESOURCE_EXHAUSTED, "rate-limited")
        (retry,) = details(error, RetryInfo)
        assert 1 <= retry.retry_delay.seconds <= 10
        assert outcome(channel, "ListTags", bearer(keys["write"])) is StatusCode.OK


def test_a_crowd_that_waits_to_be_refused_holds_no_thread_and_is_let_go_when_the_server_ends(
    served_library, keys, monkeypatch
):
    monkeypatch.setattr("segsearch.service.refusals.LONGEST_S", 1000.0)
    monkeypatch.setattr("segsearch.service.refusals.PER_S", 0.001)
    settings = Settings(keys=Path(keys["file"]), rate_per_s=0.001, rate_burst=2, shutdown_s=TIMEOUT_S)
    server = RpcServer(served_library, settings, Guard.of(settings), Metrics(served_library))
    address = server.bind(0)
    server.start()
    with grpc.insecure_channel(address) as channel:
        stub = SegmentSearchStub(channel)
        three = [outcome(channel, "Search", bearer(keys["read"])) for _ in range(3)]
        assert three == [StatusCode.OK, StatusCode.OK, StatusCode.RESOURCE_EXHAUSTED]  # whose turn it was at once
        asked = pb.SearchRequest(tag="Rain")
        crowd = [stub.Search.future(asked, metadata=bearer(keys["read"])) for _ in range(THREADS)]
        streams = [stub.SearchStream(asked, metadata=bearer(keys["read"])) for _ in range(4)]
        crowd.pop().cancel()
        for method in ("Search", "SearchStream"):
            assert outcome(channel, method, bearer(keys["write"])) is StatusCode.OK
        assert not any(call.done() for call in (*crowd, *streams))
        server.drain()
        assert {reason(call.exception(TIMEOUT_S)) for call in (*crowd, *streams)} == {"rate-limited"}
        server.close()


# Request ids and the audit trail


def test_every_answer_has_a_request_id_and_the_callers_is_kept_where_it_is_plain(channel, keys):
    stub = SegmentSearchStub(channel)

    def given(*metadata: tuple[str, str]) -> str:
        _, call = stub.ListTags.with_call(
            pb.ListTagsRequest(), metadata=[*bearer(keys["read"]), *metadata], timeout=TIMEOUT_S
        )
        return dict(call.trailing_metadata())["x-request-id"]

    assert given(("x-request-id", "mine-1")) == "mine-1"
    assert len(given(("x-request-id", 'a"b {}'))) == 16
    assert given() != given()
    error = failure(stub.ListTags, pb.ListTagsRequest(), metadata=[("x-request-id", "mine-2")])
    assert dict(error.trailing_metadata())["x-request-id"] == "mine-2"


def audit(caplog) -> list[dict[str, object]]:
    lines = [json.loads(record.message) for record in caplog.records if record.name == "segsearch.service"]
    return [line for line in lines if line["event"] == "admin_action"]


def test_an_admin_action_leaves_one_line_with_key_and_request(channel, keys, caplog):
    with caplog.at_level(logging.INFO, "segsearch.service"):
        for number, caller in enumerate(("admin", "read")):
            outcome(channel, "ActivateGeneration", [*bearer(keys[caller]), ("x-request-id", f"r-{number}")])
        outcome(channel, "ListTags", bearer(keys["admin"]))
    told = [(line["request"], line["key"], line["status"], line["path"]) for line in audit(caplog)]
    assert told == [
        ("r-0", "admin", "OK", "ActivateGeneration"),
        ("r-1", "read", "PERMISSION_DENIED", "ActivateGeneration"),
    ]
    assert all(keys[scope].split(".")[2] not in caplog.text for scope in Scope)


ASKED = {
    "ActivateGeneration": {"number": 1},
    "LoadModel": {"path": "one"},
    "StartReindex": {"shards": ["*.tfrecord"], "bundle": None, "skip_bad": False},
    "CancelJob": {"id": "x"},
}


def test_it_says_what_was_asked_for_once_that_is_read(channel, keys, caplog):
    assert ASKED.keys() == {method for method, (scope, _) in METHODS.items() if scope == "admin"}
    with caplog.at_level(logging.INFO, "segsearch.service"):
        for method in ASKED:
            for caller in ("admin", "read"):
                outcome(channel, method, bearer(keys[caller]))
    assert [(line["path"], line["key"], line.get("asked")) for line in audit(caplog)] == [
        line for method, asked in ASKED.items() for line in ((method, "admin", asked), (method, "read", None))
    ]


def test_what_is_longer_than_anything_that_is_taken_is_cut(channel, keys, caplog):
    stub, key = SegmentSearchStub(channel), bearer(keys["admin"])
    with caplog.at_level(logging.INFO, "segsearch.service"):
        for path in ("x" * 1000, "x" * 1001):
            failure(stub.LoadModel, pb.LoadModelRequest(path=path), metadata=key)
        failure(stub.StartReindex, pb.StartReindexRequest(shards=["y" * 2000] * 101), metadata=key)
        failure(stub.CancelJob, pb.CancelJobRequest(id="z" * 100_000), metadata=key)
    whole, path, wish, job = [line["asked"] for line in audit(caplog)]
    assert whole == {"path": "x" * 1000}
    assert path == {"path": "x" * 999 + "\N{HORIZONTAL ELLIPSIS}"}
    assert [len(pattern) for pattern in wish["shards"]] == [1000] * 100
    assert len(job["id"]) == 1000


def test_a_deletion_leaves_one_too_that_names_the_video(channel, keys, caplog):
    with caplog.at_level(logging.INFO, "segsearch.service"):
        for caller in ("write", "read"):
            outcome(channel, "DeleteVideo", bearer(keys[caller]))
    told = [(line["key"], line["status"], line.get("video")) for line in audit(caplog)]
    assert told == [("write", "FAILED_PRECONDITION", "v001"), ("read", "PERMISSION_DENIED", None)]
