"""The Open Inference Protocol over HTTP and gRPC, from a server that is a process: the same tensors on every way in."""

import gzip
import json
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from segsearch.core.score_codes import encode_probabilities
from segsearch.inference import open_inference_pb2 as pb
from segsearch.inference.open_inference_pb2_grpc import GRPCInferenceServiceStub
from segsearch.v1 import search_pb2
from segsearch.v1.search_pb2_grpc import SegmentSearchStub
from tests.inference_requests import (
    FRAMES,
    LENGTH,
    PATH,
    SERVICE,
    VIDEOS,
    Edges,
    Tensors,
    binary,
    both_edges,
    document,
    outputs_of,
    request_of,
    tensors_in,
    tensors_of,
)
from tests.rest_bodies import NPY, npy_of
from tests.rpc_serving import TIMEOUT_S
from tests.tiny_model import SPEC

OUTPUTS = ("probabilities", "codes", "starts", "embeddings", "label_indices")


@pytest.fixture(scope="module")
def edges(served_library, tiny_bundle) -> Iterator[Edges]:
    with both_edges(served_library.index, tiny_bundle) as opened:
        yield opened


@pytest.fixture(scope="module")
def rest(edges) -> httpx.Client:
    return edges[0]


@pytest.fixture(scope="module")
def rpc(edges) -> GRPCInferenceServiceStub:
    return GRPCInferenceServiceStub(edges[1])


# Every way in, and what comes back


def as_rows(edges: Edges, frames: np.ndarray) -> Tensors:
    return tensors_of(edges[0].post(PATH, json=document(frames)))


def as_a_flat_list(edges: Edges, frames: np.ndarray) -> Tensors:
    return tensors_of(edges[0].post(PATH, json=document(frames, data=frames.ravel().tolist())))


def as_bytes(edges: Edges, frames: np.ndarray) -> Tensors:
    content, headers = binary(frames, parameters={"binary_data_output": True})
    return tensors_of(edges[0].post(PATH, content=content, headers=headers))


def as_gzip(edges: Edges, frames: np.ndarray) -> Tensors:
    content, headers = binary(frames)
    headers |= {"Content-Encoding": "gzip", "Content-Type": "application/octet-stream"}
    return tensors_of(edges[0].post(PATH, content=gzip.compress(content), headers=headers))


def as_raw_contents(edges: Edges, frames: np.ndarray) -> Tensors:
    answer = GRPCInferenceServiceStub(edges[1]).ModelInfer(request_of(frames), timeout=TIMEOUT_S)
    assert len(answer.raw_output_contents) == len(answer.outputs)
    return tensors_in(answer)


def as_typed_contents(edges: Edges, frames: np.ndarray) -> Tensors:
    answer = GRPCInferenceServiceStub(edges[1]).ModelInfer(request_of(frames, raw=False), timeout=TIMEOUT_S)
    assert not answer.raw_output_contents
    return tensors_in(answer)


WAYS = (as_rows, as_a_flat_list, as_bytes, as_gzip, as_raw_contents, as_typed_contents)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_tensors_are_what_the_bundles_own_scorer_says_to_the_bit(edges, scorer, way):
    for frames in VIDEOS:
        found, wanted = way(edges, frames), scorer.score(frames)
        assert tuple(found) == OUTPUTS
        assert_same(found["probabilities"], wanted.probabilities)
        assert_same(found["codes"], encode_probabilities(wanted.probabilities))
        assert_same(found["starts"], wanted.starts)
        assert_same(found["embeddings"], wanted.embeddings)
        assert found["label_indices"].tolist() == [entry.label_index for entry in scorer.bundle.vocabulary.entries]


def assert_same(found: np.ndarray, wanted: np.ndarray) -> None:
    assert (found.dtype, found.shape, found.tobytes()) == (wanted.dtype, wanted.shape, wanted.tobytes())


@pytest.mark.parametrize("way", [as_rows, as_bytes, as_raw_contents], ids=lambda way: way.__name__)
def test_probabilities_are_the_scores_of_score_to_the_bit(edges, way):
    rest, channel = edges
    found = way(edges, FRAMES)
    columns = {label: column for column, label in enumerate(found["label_indices"].tolist())}
    told = rest.post("/score", params={"top": 1000}, content=npy_of(FRAMES), headers=NPY).json()["segments"]
    message = SegmentSearchStub(channel).Score(search_pb2.ScoreRequest(frames=FRAMES.tobytes(), top=1000))
    assert [each["start_s"] for each in told] == [each.start_s for each in message.segments] == found["starts"].tolist()
    for row, (by_rest, by_rpc) in enumerate(zip(told, message.segments, strict=True)):
        scores = {tag["label_index"]: np.float32(tag["score"]) for tag in by_rest["tags"]}
        assert scores == {tag.label_index: np.float32(tag.score) for tag in by_rpc.tags}
        assert scores == {label: found["probabilities"][row, column] for label, column in columns.items()}


# What is asked for


def test_the_outputs_that_are_asked_for_come_alone_and_in_order(rest, rpc):
    names = ["starts", "probabilities"]
    asked = document() | {"outputs": [{"name": name} for name in names]}
    assert list(tensors_of(rest.post(PATH, json=asked))) == names
    assert list(tensors_in(rpc.ModelInfer(request_of(**outputs_of(*names))))) == names


def test_each_output_says_for_itself_whether_it_is_binary(rest):
    outputs = [{"name": "codes", "parameters": {"binary_data": False}}, {"name": "embeddings"}, {"name": "starts"}]
    content, headers = binary(outputs=outputs, parameters={"binary_data_output": True})
    answer = rest.post(PATH, content=content, headers=headers)
    head = json.loads(answer.content[: int(answer.headers[LENGTH])])
    assert ["data" in output for output in head["outputs"]] == [True, False, False]
    assert answer.headers["content-type"] == "application/octet-stream"
    assert list(tensors_of(answer)) == ["codes", "embeddings", "starts"]
    outputs[2]["parameters"] = {"binary_data": True}
    answer = rest.post(PATH, json=document() | {"outputs": outputs[1:]})
    head = json.loads(answer.content[: int(answer.headers[LENGTH])])
    assert ["data" in output for output in head["outputs"]] == [True, False]


def test_an_answer_names_the_model_the_bundle_and_the_request(rest, rpc, tiny_bundle):
    answer = rest.post(PATH, json=document() | {"id": "é\n1", "model_name": "tiny"}).json()
    message = rpc.ModelInfer(request_of(id="é\n1"))
    assert answer["id"] == message.id == "é\n1"
    assert (
        (answer["model_name"], answer["model_version"]) == (message.model_name, message.model_version) == ("tiny", "1")
    )
    assert answer["parameters"] == {"digest": tiny_bundle.digest}
    assert message.parameters["digest"].string_param == tiny_bundle.digest
    assert "id" not in rest.post(PATH, json=document()).json()


def test_a_version_may_be_named(rest, rpc):
    found = tensors_of(rest.post("/v2/models/tiny/versions/1/infer", json=document()))
    message = tensors_in(rpc.ModelInfer(request_of(model_version="1")))
    assert found["codes"].tobytes() == message["codes"].tobytes()


def test_a_json_answer_is_compressed_for_whoever_reads_that(rest):
    plain = rest.post(PATH, json=document(), headers={"accept-encoding": "identity"})
    answer = rest.post(PATH, json=document(), headers={"accept-encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.json() == plain.json()


# What is told of server and model


def test_both_edges_tell_the_same_of_server_and_model(rest, rpc):
    told = rpc.ServerMetadata(pb.ServerMetadataRequest())
    assert rest.get("/v2").json() == {
        "name": told.name, "version": told.version, "extensions": list(told.extensions),
    }  # fmt: skip
    assert list(told.extensions) == ["binary_tensor_data"]
    model = rpc.ModelMetadata(pb.ModelMetadataRequest(name="tiny"))
    answer = rest.get("/v2/models/tiny").json()
    assert answer == rest.get("/v2/models/tiny/versions/1").json() == {
        "name": model.name, "versions": list(model.versions), "platform": model.platform,
        "inputs": list(map(described, model.inputs)), "outputs": list(map(described, model.outputs)),
    }  # fmt: skip
    assert answer["inputs"] == [{"name": "frames", "datatype": "UINT8", "shape": [-1, SPEC.size]}]


def described(tensor: pb.ModelMetadataResponse.TensorMetadata) -> dict[str, object]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


def test_answers_are_of_the_types_and_shapes_that_the_metadata_promise(rest):
    promised = {each["name"]: each for each in rest.get("/v2/models/tiny").json()["outputs"]}
    for output in rest.post(PATH, json=document()).json()["outputs"]:
        wanted = promised.pop(output["name"])
        assert output["datatype"] == wanted["datatype"]
        for axis, size in zip(output["shape"], wanted["shape"], strict=True):
            assert size in (axis, -1)
    assert promised == {}


def test_server_and_model_say_that_they_are_live_and_ready(edges, rpc):
    rest, channel = edges
    assert rest.get("/v2/health/live").json() == {"live": True}
    assert rest.get("/v2/health/ready").json() == {"ready": True}
    for path in ("/v2/models/tiny/ready", "/v2/models/tiny/versions/1/ready"):
        assert rest.get(path).json() == {"name": "tiny", "ready": True}
    assert rpc.ServerLive(pb.ServerLiveRequest()).live
    assert rpc.ServerReady(pb.ServerReadyRequest()).ready
    assert rpc.ModelReady(pb.ModelReadyRequest(name="tiny", version="1")).ready
    health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=SERVICE))
    assert health.status == health_pb2.HealthCheckResponse.SERVING


def test_tools_find_the_service_by_reflection(edges):
    asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE)
    listed = reflection_pb2.ServerReflectionRequest(list_services="")
    stub = reflection_pb2_grpc.ServerReflectionStub(edges[1])
    found, services = stub.ServerReflectionInfo(iter([asked, listed]), timeout=TIMEOUT_S)
    assert b"ModelInferRequest" in found.file_descriptor_response.file_descriptor_proto[0]
    assert SERVICE in [each.name for each in services.list_services_response.service]


# The published protocol: kserve/open-inference-protocol, specification/protocol/open_inference_grpc.proto.
PUBLISHED = {
    "ModelMetadataResponse": ["name", "versions", "platform", "inputs", "outputs"],
    "ModelMetadataResponse.TensorMetadata": ["name", "datatype", "shape"],
    "ModelInferRequest": [
        "model_name", "model_version", "id", "parameters", "inputs", "outputs", "raw_input_contents",
    ],
    "ModelInferRequest.InferInputTensor": ["name", "datatype", "shape", "parameters", "contents"],
    "ModelInferRequest.InferRequestedOutputTensor": ["name", "parameters"],
    "ModelInferResponse": ["model_name", "model_version", "id", "parameters", "outputs", "raw_output_contents"],
    "ModelInferResponse.InferOutputTensor": ["name", "datatype", "shape", "parameters", "contents"],
    "InferParameter": ["bool_param", "int64_param", "string_param", "double_param", "uint64_param"],
    "InferTensorContents": [
        "bool_contents", "int_contents", "int64_contents", "uint_contents", "uint64_contents", "fp32_contents",
        "fp64_contents", "bytes_contents",
    ],
}  # fmt: skip


@pytest.mark.parametrize("message", PUBLISHED)
def test_fields_have_the_published_numbers(message):
    outer, _, inner = message.partition(".")
    found = pb.DESCRIPTOR.message_types_by_name[outer]
    found = found.nested_types_by_name[inner] if inner else found
    assert {field.name: field.number for field in found.fields} == {
        name: place for place, name in enumerate(PUBLISHED[message], 1)
    }
