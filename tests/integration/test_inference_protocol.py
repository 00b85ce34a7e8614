"""The Open Inference Protocol over HTTP and gRPC, from a server that is a process: the same tensors on every way in."""

import gzip
import json
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from google.rpc.error_details_pb2 import BadRequest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from segsearch.core.errors import InputTooLarge
from segsearch.core.score_codes import encode_probabilities
from segsearch.inference import open_inference_pb2 as pb
from segsearch.inference.open_inference_pb2_grpc import GRPCInferenceServiceStub
from segsearch.service.inference import ModelName
from segsearch.service.rest.inference_body import read_request
from segsearch.service.rest.uploads.upload import Rules
from segsearch.v1 import search_pb2
from segsearch.v1.search_pb2_grpc import SegmentSearchStub
from tests.conftest import ROOT
from tests.integration.test_serving_grpc import served
from tests.library_fixtures import make_videos
from tests.rest_bodies import NPY, npy_of
from tests.rpc_serving import TIMEOUT_S, details, failure, info
from tests.tiny_model import SPEC

LENGTH = "Inference-Header-Content-Length"
PATH = "/v2/models/tiny/infer"
VIDEOS = [video.frames for video in make_videos(4, seed=21)]
FRAMES = VIDEOS[0]
OUTPUTS = ("probabilities", "codes", "starts", "embeddings", "label_indices")
DTYPES = {"FP32": np.float32, "UINT16": np.uint16, "INT64": np.int64}
SERVICE = "inference.GRPCInferenceService"

Tensors = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def edges(served_library, tiny_bundle) -> Iterator[tuple[httpx.Client, grpc.Channel]]:
    """Both edges of one process; frames up to 200, bodies up to 100 kB."""
    limits = ("--threads", 1, "--frame-limit", 200, "--body-limit-bytes", 100_000, "--no-live")
    with (
        served(served_library.index, tiny_bundle, *limits) as (told, _),
        httpx.Client(base_url=told["url"], timeout=TIMEOUT_S) as rest,
        grpc.insecure_channel(told["grpc"]) as channel,
    ):
        yield rest, channel


@pytest.fixture(scope="module")
def rest(edges) -> httpx.Client:
    return edges[0]


@pytest.fixture(scope="module")
def rpc(edges) -> GRPCInferenceServiceStub:
    return GRPCInferenceServiceStub(edges[1])


# Requests, and what comes back


def document(frames: np.ndarray = FRAMES, **changes: Any) -> dict[str, Any]:
    """A request with its frames as rows of numbers; `changes` are of its input."""
    data = {} if "data" in changes else {"data": frames.tolist()}
    given = {"name": "frames", "shape": list(frames.shape), "datatype": "UINT8", **data, **changes}
    return {"inputs": [{name: value for name, value in given.items() if value is not None}]}


def binary(frames: np.ndarray = FRAMES, **members: Any) -> tuple[bytes, dict[str, str]]:
    """A body with its frames behind the JSON, and its headers."""
    head = document(frames, data=None, parameters={"binary_data_size": frames.size}) | members
    text = json.dumps(head).encode()
    return text + frames.tobytes(), {LENGTH: str(len(text))}


def tensors_of(answer: httpx.Response) -> Tensors:
    """The outputs of an answer, each in JSON or behind it."""
    assert answer.status_code == 200, answer.text
    size = int(answer.headers.get(LENGTH, len(answer.content)))
    head, behind, found = json.loads(answer.content[:size]), answer.content[size:], {}
    for output in head["outputs"]:
        dtype = DTYPES[output["datatype"]]
        if "data" in output:
            values = np.array(output["data"], dtype)
        else:
            length = output["parameters"]["binary_data_size"]
            values, behind = np.frombuffer(behind[:length], dtype), behind[length:]
        found[output["name"]] = values.reshape(output["shape"])
    assert behind == b""
    return found


def request_of(frames: np.ndarray = FRAMES, *, raw: bool = True, **members: Any) -> pb.ModelInferRequest:
    """The same as a message."""
    given = pb.ModelInferRequest.InferInputTensor(name="frames", datatype="UINT8", shape=frames.shape)
    if not raw:
        given.contents.uint_contents.extend(frames.ravel().tolist())
    content = {"raw_input_contents": [frames.tobytes()]} if raw else {}
    return pb.ModelInferRequest(**{"model_name": "tiny", "inputs": [given], **content, **members})


def tensors_in(answer: pb.ModelInferResponse) -> Tensors:
    """The outputs of a message, each raw or in the list of its datatype."""
    found = {}
    lists = {"FP32": "fp32_contents", "UINT16": "uint_contents", "INT64": "int64_contents"}
    for place, output in enumerate(answer.outputs):
        dtype = DTYPES[output.datatype]
        if answer.raw_output_contents:
            values = np.frombuffer(answer.raw_output_contents[place], dtype)
        else:
            values = np.array(getattr(output.contents, lists[output.datatype]), dtype)
        found[output.name] = values.reshape(output.shape)
    return found


Edges = tuple[httpx.Client, grpc.Channel]


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
    outputs = [pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in names]
    assert list(tensors_in(rpc.ModelInfer(request_of(outputs=outputs)))) == names


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


# What is refused: what is sent to each edge, the code that both answer, and the field that each names.


def changed(**members: Any) -> dict[str, Any]:
    return {"json": document() | members}


def of_input(**changes: Any) -> dict[str, Any]:
    return {"json": document(**changes)}


def input_of(**members: Any) -> pb.ModelInferRequest.InferInputTensor:
    return pb.ModelInferRequest.InferInputTensor(
        **{"name": "frames", "datatype": "UINT8", "shape": FRAMES.shape, **members}
    )


def outputs_of(*names: str, **members: Any) -> dict[str, Any]:
    return {"outputs": [pb.ModelInferRequest.InferRequestedOutputTensor(name=name, **members) for name in names]}


COUNT, SIZE = FRAMES.shape
ONE = {"x": pb.InferParameter(bool_param=True)}
LONG = np.zeros((201, SIZE), np.uint8)
REFUSED: Mapping[str, tuple[dict[str, Any], pb.ModelInferRequest, str, str, str]] = {
    "another name": (of_input(name="pixels"), request_of(inputs=[input_of(name="pixels")]), "invalid-input",
                     "inputs[0].name", "inputs[0].name"),
    "another type": (of_input(datatype="FP32"), request_of(inputs=[input_of(datatype="FP32")]), "invalid-input",
                     "inputs[0].datatype", "inputs[0].datatype"),
    "another width": (of_input(shape=[COUNT, SIZE + 1]), request_of(inputs=[input_of(shape=[COUNT, SIZE + 1])]),
                      "invalid-input", "inputs[0].shape", "inputs[0].shape"),
    "three axes": (of_input(shape=[1, COUNT, SIZE]), request_of(inputs=[input_of(shape=[1, COUNT, SIZE])]),
                   "invalid-input", "inputs[0].shape", "inputs[0].shape"),
    "no axis": (of_input(shape=[]), request_of(inputs=[input_of(shape=[])]), "invalid-input",
                "inputs[0].shape", "inputs[0].shape"),
    "no frames": (of_input(shape=[0, SIZE], data=[]), request_of(FRAMES[:0]), "invalid-input",
                  "inputs[0].shape", "inputs[0].shape"),
    "frames below none": (of_input(shape=[-1, SIZE]), request_of(inputs=[input_of(shape=[-1, SIZE])]), "invalid-input",
                          "inputs[0].shape", "inputs[0].shape"),
    "too many frames": ({"json": document(LONG)}, request_of(LONG), "too-large", "inputs[0].shape", "inputs[0].shape"),
    "frames beyond all": (of_input(shape=[2**63 - 1, SIZE]), request_of(inputs=[input_of(shape=[2**63 - 1, SIZE])]),
                          "too-large", "inputs[0].shape", "inputs[0].shape"),
    "fewer values than the shape says": (
        of_input(data=FRAMES.ravel().tolist()[:-1]), request_of(raw_input_contents=[FRAMES.tobytes()[:-1]]),
        "invalid-input", "inputs[0].data", "raw_input_contents[0]",
    ),
    "more values than the shape says": (
        of_input(data=[*FRAMES.tolist(), [0] * SIZE]), request_of(raw_input_contents=[FRAMES.tobytes() + b"\0"]),
        "invalid-input", "inputs[0].data", "raw_input_contents[0]",
    ),
    "a value that is no byte": (
        of_input(shape=[1, SIZE], data=[0, 256] + [0] * (SIZE - 2)),
        request_of(raw_input_contents=[], inputs=[input_of(
            shape=[1, SIZE], contents=pb.InferTensorContents(uint_contents=[0, 256] + [0] * (SIZE - 2))
        )]), "invalid-input", "inputs[0].data[1]", "inputs[0].contents.uint_contents[1]",
    ),
    "no values": (of_input(data=None), request_of(raw_input_contents=[]), "invalid-input",
                  "inputs[0].data", "inputs[0].contents"),
    "no input": (changed(inputs=[]), request_of(inputs=[]), "invalid-input", "inputs", "inputs"),
    "two inputs": (changed(inputs=document()["inputs"] * 2), request_of(inputs=[input_of()] * 2), "invalid-input",
                   "inputs", "inputs"),
    "an unknown output": (changed(outputs=[{"name": "starts"}, {"name": "logits"}]),
                          request_of(**outputs_of("starts", "logits")), "invalid-input",
                          "outputs[1].name", "outputs[1].name"),
    "an output twice": (changed(outputs=[{"name": "starts"}] * 2), request_of(**outputs_of("starts", "starts")),
                        "invalid-input", "outputs[1].name", "outputs[1].name"),
    "a parameter": (changed(parameters={"x": True}), request_of(parameters=ONE), "invalid-input",
                    "parameters.x", "parameters.x"),
    "a parameter of the input": (of_input(parameters={"x": 1}), request_of(inputs=[input_of(parameters=ONE)]),
                                 "invalid-input", "inputs[0].parameters.x", "inputs[0].parameters.x"),
    "a parameter of an output": (changed(outputs=[{"name": "codes", "parameters": {"x": 1}}]),
                                 request_of(**outputs_of("codes", parameters=ONE)), "invalid-input",
                                 "outputs[0].parameters.x", "outputs[0].parameters.x"),
    "a long id": (changed(id="x" * 1001), request_of(id="x" * 1001), "invalid-input", "id", "id"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_one_edge_refuses_the_other_does_too(rest, rpc, what):
    sent, message, code, field, rpc_field = REFUSED[what]
    answer = rest.post(PATH, **sent)
    problem = refused(answer, 413 if code == "too-large" else 422, code)
    assert problem["field"] == field
    error = failure(rpc.ModelInfer, message)
    assert error.code() is (StatusCode.RESOURCE_EXHAUSTED if code == "too-large" else StatusCode.INVALID_ARGUMENT)
    assert (info(error).reason, info(error).metadata["field"]) == (code, rpc_field)
    assert details(error, BadRequest)[0].field_violations[0].field == rpc_field


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """A problem document, which says what is wrong in the protocol's words, too."""
    assert answer.status_code == status, answer.text
    problem = dict(answer.json())
    assert problem["type"] == f"/problems/{code}"
    assert problem["error"] == problem["detail"]
    assert str(ROOT) not in answer.text
    return problem


@pytest.mark.parametrize(("name", "version"), [("nothing", ""), ("tiny", "2"), ("tiny", "01"), ("TINY", "1")])
def test_a_model_that_is_not_served_is_unknown_to_each_route_and_method(rest, rpc, name, version):
    path = f"/v2/models/{name}" + (f"/versions/{version}" if version else "")
    refused(rest.get(path), 404, "unknown-model")
    refused(rest.get(f"{path}/ready"), 404, "unknown-model")
    problem = refused(rest.post(f"{path}/infer", content=b"not even read"), 404, "unknown-model")
    assert (problem["model"], problem["version"], problem["served"]) == (name, version, "tiny version 1")
    for method, request in (
        (rpc.ModelMetadata, pb.ModelMetadataRequest(name=name, version=version)),
        (rpc.ModelReady, pb.ModelReadyRequest(name=name, version=version)),
        (rpc.ModelInfer, pb.ModelInferRequest(model_name=name, model_version=version)),
    ):
        error = failure(method, request)
        assert (error.code(), info(error).reason) == (StatusCode.NOT_FOUND, "unknown-model")


def test_a_path_below_v2_that_leads_nowhere_says_so_in_the_protocols_words(rest):
    for path in ("/v2/models", "/v2/repository/index", "/v2/models/tiny/stats"):
        refused(rest.get(path), 404, "not-found")
    refused(rest.get(PATH), 405, "method-not-allowed")
    assert "error" not in rest.get("/v2x").json()


# Bodies of HTTP alone: of each what is sent, and the field at fault.


def lying(size: Any, length: Any = None, data: bytes = FRAMES.tobytes()) -> Callable[[], dict[str, Any]]:
    """A binary body with another size of its tensor, or another length of its JSON."""
    text = json.dumps(document(data=None, parameters={"binary_data_size": size})).encode()
    return lambda: {"content": text + data, "headers": {LENGTH: str(len(text)) if length is None else length}}


def plain(content: bytes, **headers: str) -> Callable[[], dict[str, Any]]:
    return lambda: {"content": content, "headers": headers}


TEXT = json.dumps(document()).encode()
BEHIND = "inputs[0].parameters.binary_data_size"
HOSTILE: Mapping[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "a size below what came": (lying(FRAMES.size - 1), BEHIND),
    "a size beyond what came": (lying(FRAMES.size + 1), BEHIND),
    "a size of 2^63": (lying(2**63), BEHIND),
    "a size of a thousand digits": (lying(10**1000), BEHIND),
    "a size below none": (lying(-FRAMES.size), BEHIND),
    "a size that is a float": (lying(float(FRAMES.size)), BEHIND),
    "a size that is true": (lying(True), BEHIND),
    "a size that is text": (lying(str(FRAMES.size)), BEHIND),
    "bytes that the shape does not know": (lying(FRAMES.size + 1, data=FRAMES.tobytes() + b"\0"), BEHIND),
    "no bytes": (lying(0, data=b""), BEHIND),
    "a length beyond the body": (lying(FRAMES.size, "1000000"), LENGTH),
    "a length of forty digits": (lying(FRAMES.size, "9" * 40), LENGTH),
    "a length of five thousand digits": (lying(FRAMES.size, "9" * 5_000), LENGTH),
    "a length below none": (lying(FRAMES.size, "-1"), LENGTH),
    "a length that is no number": (lying(FRAMES.size, "0x10"), LENGTH),
    "an empty length": (lying(FRAMES.size, ""), LENGTH),
    "two lengths": (lying(FRAMES.size, "10, 10"), LENGTH),
    "a length that cuts the JSON": (lying(FRAMES.size, "10"), "body"),
    "no length": (lambda: {"content": lying(FRAMES.size)()["content"]}, "body"),
    "a size and nothing behind": (plain(json.dumps(
        document(data=None, parameters={"binary_data_size": FRAMES.size})).encode()), LENGTH),
    "data beside a size": (plain(json.dumps(document(parameters={"binary_data_size": FRAMES.size})).encode(),
                                 **{LENGTH: str(len(TEXT) + 42)}), LENGTH),
    "bytes behind data": (plain(TEXT + b"\0", **{LENGTH: str(len(TEXT))}), "body"),
    "no JSON": (plain(b""), "body"),
    "half of it": (plain(TEXT[:-1]), "body"),
    "a list": (plain(b"[]"), "body"),
    "no object": (plain(b'"inputs"'), "body"),
    "nothing in it": (plain(b"{}"), "body.inputs"),
    "deep lists": (plain(b"[" * 50_000), "body"),
    "a member twice": (plain(b'{"inputs": [], "inputs": []}'), 'body: "inputs"'),
    "an unknown member": (plain(TEXT[:-1] + b', "input": []}'), "body.input"),
    "inputs that are an object": (plain(b'{"inputs": {}}'), "inputs"),
    "an input that is a number": (plain(b'{"inputs": [1]}'), "inputs[0]"),
    "an input without a shape": (plain(b'{"inputs": [{"name": "frames", "datatype": "UINT8"}]}'), "inputs[0].shape"),
    "a shape that is text": (lambda: of_input(shape="6,12"), "inputs[0].shape"),
    "a shape of floats": (lambda: of_input(shape=[6.0, 12.0]), "inputs[0].shape"),
    "a shape of true": (lambda: of_input(shape=[True, SIZE]), "inputs[0].shape"),
    "a name that is a number": (lambda: of_input(name=1), "inputs[0].name"),
    "a type that is null": (plain(TEXT.replace(b'"UINT8"', b"null")), "inputs[0].datatype"),
    "half a surrogate pair for a name": (plain(TEXT.replace(b'"frames"', b'"\\ud800"')), "inputs[0].name"),
    "data that are text": (lambda: of_input(data="AAAA"), "inputs[0].data"),
    "rows of another length": (lambda: of_input(data=[row[:-1] for row in FRAMES.tolist()]), "inputs[0].data[0]"),
    "rows of rows": (lambda: of_input(data=[[row] for row in FRAMES.tolist()]), "inputs[0].data[0]"),
    "rows and numbers": (lambda: of_input(data=[FRAMES[0].tolist(), *[1] * (COUNT - 1)]), "inputs[0].data[1]"),
    "a float among the data": (lambda: of_input(shape=[1, SIZE], data=[0.5] * SIZE), "inputs[0].data[0]"),
    "not a number": (plain(TEXT.replace(b"[[", b"[[NaN,", 1)), "inputs[0].data[0]"),
    "outputs that are text": (lambda: changed(outputs="starts"), "outputs"),
    "an output that is text": (lambda: changed(outputs=["starts"]), "outputs[0]"),
    "an output without a name": (lambda: changed(outputs=[{}]), "outputs[0].name"),
    "an output whose name is a list": (lambda: changed(outputs=[{"name": []}]), "outputs[0].name"),
    "binary_data that is a number": (
        lambda: changed(outputs=[{"name": "codes", "parameters": {"binary_data": 1}}]),
        "outputs[0].parameters.binary_data",
    ),
    "parameters that are a list": (lambda: changed(parameters=[]), "parameters"),
    "an id that is a number": (lambda: changed(id=7), "id"),
    "shared memory": (lambda: of_input(data=None, parameters={"shared_memory_region": "x"}),
                      "inputs[0].parameters.shared_memory_region"),
    "a class list": (lambda: changed(outputs=[{"name": "codes", "parameters": {"classification": 3}}]),
                     "outputs[0].parameters.classification"),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_a_body_that_nobody_means_well_with_is_told_what_is_wrong_with_it(rest, what):
    sent, field = HOSTILE[what]
    assert refused(rest.post(PATH, **sent()), 422, "invalid-input")["field"] == field


def test_a_body_beyond_the_limits_is_refused(rest):
    refused(rest.post(PATH, content=bytes(100_001)), 413, "too-large")
    refused(rest.post(PATH, **of_input(shape=[2**200, SIZE])), 413, "too-large")
    refused(rest.post(PATH, content=gzip.compress(bytes(10_000_000)), headers={"content-encoding": "gzip"}),
            413, "too-large")  # fmt: skip
    refused(rest.post(PATH, content=TEXT, headers={"content-type": "text/plain"}), 415, "unsupported-content")
    refused(rest.post(PATH, content=TEXT, headers={"content-encoding": "br"}), 415, "unsupported-content")
    refused(rest.post(PATH, params={"top": 3}, json=document()), 422, "invalid-input")


def test_an_answer_that_would_spell_out_millions_of_numbers_is_refused_before_anything_is_scored(tiny_bundle):
    frames = np.zeros((690_000, SIZE), np.uint8)  # 138,000 segments of 29 numbers
    rules, model = Rules(SPEC, 1_000_000), ModelName.of(tiny_bundle)
    content, headers = binary(frames)
    with pytest.raises(InputTooLarge, match="outputs: 4002008 numbers as JSON; wanted at most 4000000; binary"):
        read_request(content, headers[LENGTH], model, tiny_bundle, rules)
    content, headers = binary(frames, parameters={"binary_data_output": True})
    assert len(read_request(content, headers[LENGTH], model, tiny_bundle, rules).request.frames) == len(frames)


# Messages of gRPC alone

FLOATS = pb.InferTensorContents(fp32_contents=[0.5] * FRAMES.size)
MESSAGES: Mapping[str, tuple[pb.ModelInferRequest, str]] = {
    "raw and typed": (request_of(inputs=request_of(raw=False).inputs), "inputs[0].contents"),
    "raw twice": (request_of(raw_input_contents=[FRAMES.tobytes()] * 2), "raw_input_contents"),
    "floats": (request_of(raw_input_contents=[], inputs=[input_of(contents=FLOATS)]), "inputs[0].contents"),
}


@pytest.mark.parametrize("what", MESSAGES)
def test_a_message_that_says_two_things_is_told_which(rpc, what):
    message, field = MESSAGES[what]
    error = failure(rpc.ModelInfer, message)
    assert (error.code(), info(error).metadata["field"]) == (StatusCode.INVALID_ARGUMENT, field)


@pytest.mark.parametrize(
    ("unit", "count"), [(b"\x2a\x00", 40_000), (b"\x22\x00", 40_000), (b"\x3a\x00", 40_000), (b"\x32\x00", 40_000)],
    ids=["inputs", "parameters", "raw contents", "outputs"],
)  # fmt: skip
def test_small_bytes_that_would_become_large_objects_are_counted_first(edges, unit, count):
    send = edges[1].unary_unary(f"/{SERVICE}/ModelInfer")
    error = failure(send, unit * count)
    assert (error.code(), info(error).reason) == (StatusCode.RESOURCE_EXHAUSTED, "too-large")


def test_no_bytes_are_too_odd_for_either_edge(edges):
    """Valid requests with some bytes changed, cut or twice; the seed is in each failure's message."""
    rest, channel = edges
    send = channel.unary_unary(f"/{SERVICE}/ModelInfer")
    content, headers = binary()
    message = request_of(outputs=outputs_of("codes")["outputs"]).SerializeToString()
    codes = set()
    fine = {StatusCode.OK, StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND, StatusCode.RESOURCE_EXHAUSTED}
    for seed in range(60):
        chance = random.Random(seed)
        answer = rest.post(PATH, content=mutated(content, chance), headers=headers)
        assert answer.status_code in (200, 413, 422), (seed, answer.text)
        call = send.future(mutated(message, chance), timeout=TIMEOUT_S)
        codes.add(call.code())
        assert codes <= fine, (seed, call.exception())
    assert StatusCode.INVALID_ARGUMENT in codes


def mutated(body: bytes, chance: random.Random) -> bytes:
    changed = bytearray(body)
    head = len(body) - FRAMES.size  # what lies behind is any bytes anyway
    for _ in range(chance.choice([1, 1, 2, 8])):
        changed[chance.randrange(head)] = chance.randrange(256)
    return bytes(changed[: chance.choice([len(changed), len(changed), chance.randrange(len(changed))])])
