"""Bytes that nobody would send, in great number, to every method of a real gRPC server: no bug, no hang, no harm.

The twin of `test_rest_fuzz`. Method and seed are in each failure's message.
"""

import random
from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.message import Message
from grpc import StatusCode
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from segsearch.inference import open_inference_pb2 as inference
from segsearch.service.index.format import LIVE
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.live.store import LiveStore
from segsearch.service.jobs.reindex import reindex
from segsearch.service.library import SegmentLibrary
from segsearch.service.settings import Settings
from segsearch.v1 import search_pb2 as pb
from segsearch.v1.search_pb2_grpc import SegmentSearchStub
from tests.integration.test_rest_fuzz import INSIDE
from tests.rpc_serving import TIMEOUT_S, info, rpc_serving
from tests.tiny_model import SPEC

OURS = pb.DESCRIPTOR.services_by_name["SegmentSearch"]
OPEN = inference.DESCRIPTOR.services_by_name["GRPCInferenceService"]
FRAMES = bytes(range(3 * SPEC.size))
TENSOR = inference.ModelInferRequest.InferInputTensor(name="frames", datatype="UINT8", shape=[3, SPEC.size])
PROBABILITIES = inference.ModelInferRequest.InferRequestedOutputTensor(name="probabilities")
LISTED = inference.ModelInferRequest.InferInputTensor(
    name="frames", datatype="UINT8", shape=[3, SPEC.size],
    contents=inference.InferTensorContents(uint_contents=list(FRAMES)),
)  # fmt: skip
# By method: what would be right, with every field set somewhere.
SEARCH: dict[str, list[Message]] = {
    "Search": [
        pb.SearchRequest(tag="Rain and not Cat", k=3, min_score=0.1, per_video=2),
        pb.SearchRequest(tag="Rain", merge=True),
        pb.SearchRequest(tag="Rain", page_token="AQAAAAAAAAAB"),
    ],
    "SearchStream": [pb.SearchRequest(tag="/m/002", k=20_000, merge=True)],
    "Score": [pb.ScoreRequest(video="mine", top=3, index=True, frames=FRAMES)],
    "ScoreStream": [pb.ScoreRequest(video="mine", top=3, frames=FRAMES), pb.ScoreRequest(frames=FRAMES)],
    "Similar": [
        pb.SimilarRequest(segment=pb.Segment(video="v001", start_s=0), k=5),
        pb.SimilarRequest(frames=FRAMES, start_s=0),
    ],
    "ListTags": [pb.ListTagsRequest(prefix="do", limit=3)],
    "GetVideo": [pb.GetVideoRequest(video="v001", tags=["Rain", "Cat"])],
    "DeleteVideo": [pb.DeleteVideoRequest(video="v002")],
    "ListGenerations": [pb.ListGenerationsRequest()],
    "CompareGenerations": [pb.CompareGenerationsRequest(a=1, b=1, k=5, limit=2)],
    "ActivateGeneration": [pb.ActivateGenerationRequest(number=1)],
    "GetModel": [pb.GetModelRequest()],
    "LoadModel": [pb.LoadModelRequest(path="tiny/1")],
    "StartReindex": [pb.StartReindexRequest(shards=["*.tfrecord"], bundle="tiny/1", skip_bad=True)],
    "GetJob": [pb.GetJobRequest(id="20261128-081500-1f2e3d4c")],
    "CancelJob": [pb.CancelJobRequest(id="20261128-081500-1f2e3d4c")],
}
INFERENCE: dict[str, list[Message]] = {
    "ServerLive": [inference.ServerLiveRequest()],
    "ServerReady": [inference.ServerReadyRequest()],
    "ModelReady": [inference.ModelReadyRequest(name="tiny", version="1")],
    "ServerMetadata": [inference.ServerMetadataRequest()],
    "ModelMetadata": [inference.ModelMetadataRequest(name="tiny", version="1")],
    "ModelInfer": [
        inference.ModelInferRequest(
            model_name="tiny", model_version="1", id="x", inputs=[TENSOR], raw_input_contents=[FRAMES]
        ),
        inference.ModelInferRequest(model_name="tiny", inputs=[LISTED], outputs=[PROBABILITIES]),
    ],
}
RIGHT: dict[str, list[Message]] = {
    **{f"/{OURS.full_name}/{method}": messages for method, messages in SEARCH.items()},
    **{f"/{OPEN.full_name}/{method}": messages for method, messages in INFERENCE.items()},
    "/grpc.health.v1.Health/Check": [HealthCheckRequest(service=OURS.full_name)],
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": [
        ServerReflectionRequest(file_containing_symbol=OURS.full_name)
    ],
}
BODIES = {method: [message.SerializeToString() for message in messages] for method, messages in RIGHT.items()}
# What a caller's own fault comes to; anything else is ours.
FAULTS = {
    StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND, StatusCode.FAILED_PRECONDITION, StatusCode.RESOURCE_EXHAUSTED,
    StatusCode.ABORTED,
}  # fmt: skip


@pytest.fixture(scope="module")
def channel(tmp_path_factory, scorer, shards) -> Iterator[grpc.Channel]:
    """A server that stores, of a library with embeddings."""
    index = IndexDirectory(tmp_path_factory.mktemp("fuzz") / "index")
    reindex(scorer, shards, index, keep=1000, embeddings=True)
    with LiveStore.open(index.root / LIVE, scorer.bundle.manifest.features.space) as store:
        settings = Settings(body_limit_bytes=100_000, frame_limit=200, shutdown_s=5)
        with rpc_serving(SegmentLibrary(scorer, index, store), settings) as opened:
            yield opened


def varint(number: int) -> bytes:
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def any_field(chance: random.Random) -> bytes:
    """A field of any number and wire type, those that are none included; a length need not be that of what follows."""
    tag = varint(chance.choice([1, 2, 3, 4, 5, 6, 7, 19_000, (1 << 29) - 1]) << 3 | chance.randrange(8))
    number = varint(chance.choice([0, 1, 5, 127, 1 << 31, (1 << 32) - 1, (1 << 63) - 1, (1 << 64) - 1]))
    return tag + number + chance.randbytes(chance.choice([0, 4, 5, 8]))


def flipped(body: bytes, chance: random.Random) -> bytes:
    changed = bytearray(body)
    for _ in range(chance.choice([1, 1, 2, 8]) if changed else 0):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def odd(right: list[bytes], chance: random.Random) -> bytes:
    """One message that is random, or a right one that was cut, changed, repeated or added to."""
    body = chance.choice(right)
    kind = chance.randrange(6)
    if kind == 0:
        return chance.randbytes(chance.choice([1, 2, 8, 40, 400]))
    if kind == 1:
        return body[: chance.randrange(len(body) + 1)]
    if kind == 2:
        return flipped(body, chance)
    if kind == 3:
        return body + chance.choice(right)
    if kind == 4:
        return body + b"".join(any_field(chance) for _ in range(chance.choice([1, 3])))
    return chance.choice([b"\x0b", b"\x0a\x7f", b"\x12\x80\x80\x80\x80"]) * chance.choice([1, 30, 3_000])


def told(channel: grpc.Channel, method: str, messages: list[bytes]) -> grpc.RpcError | None:
    """The error that a call with these messages ends with, if any; on the wire all methods look like streams."""
    try:
        list(channel.stream_stream(method)(iter(messages), timeout=TIMEOUT_S))
    except grpc.RpcError as error:
        return error
    return None


def test_no_method_is_missing_here():
    assert set(SEARCH) == {method.name for method in OURS.methods}
    assert set(INFERENCE) == {method.name for method in OPEN.methods}


def test_what_would_be_right_is_at_least_a_message(channel):
    refused = {}
    for method, bodies in BODIES.items():
        for body in bodies:
            if error := told(channel, method, [body]):
                refused[method.rpartition("/")[2]] = info(error).reason
    # The token is forged, and the server has no folders of bundles and shards.
    folders = {"LoadModel", "StartReindex", "GetJob", "CancelJob"}
    assert refused == {"Search": "invalid-page-token"} | dict.fromkeys(folders, "not-configured")


@pytest.mark.parametrize("seeds", [range(20), pytest.param(range(20, 1_020), marks=pytest.mark.slow)])
def test_no_bytes_are_too_odd(channel, seeds):
    codes = set()
    for method, right in BODIES.items():
        for seed in seeds:
            chance = random.Random(f"{method} {seed}")
            messages = [odd(right, chance) for _ in range(chance.choice([1, 1, 1, 2, 3]))]
            error = told(channel, method, messages)
            codes.add(error.code() if error else StatusCode.OK)
            if error is not None:
                assert error.code() in FAULTS, (method, seed, error)
                assert "health" in method or info(error).reason, (method, seed, error)  # that is gRPC's own
                assert not INSIDE.search(f"{error.details()}{error.trailing_metadata()}"), (method, seed, error)
    assert {StatusCode.OK, StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND} <= codes
    assert SegmentSearchStub(channel).Search(pb.SearchRequest(tag="Rain"), timeout=TIMEOUT_S).segments
    assert HealthStub(channel).Check(HealthCheckRequest(), timeout=TIMEOUT_S).status == HealthCheckResponse.SERVING
