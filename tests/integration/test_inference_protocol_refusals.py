"""What the Open Inference Protocol refuses, from a server that is a process: the same at both edges."""

import gzip
import json
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import numpy as np
import pytest
from google.rpc.error_details_pb2 import BadRequest
from grpc import StatusCode

from segsearch.core.errors import InputTooLarge
from segsearch.inference import open_inference_pb2 as pb
from segsearch.inference.open_inference_pb2_grpc import GRPCInferenceServiceStub
from segsearch.service.inference import ModelName
from segsearch.service.rest.inference_body import read_request
from segsearch.service.rpc.inference_messages import checked_request
from segsearch.service.uploads.upload import Rules
from tests.inference_requests import (
    FRAMES,
    LENGTH,
    PATH,
    SERVICE,
    Edges,
    binary,
    both_edges,
    document,
    input_of,
    outputs_of,
    refused,
    request_of,
)
from tests.rpc_serving import TIMEOUT_S, details, failure, info
from tests.tiny_model import SPEC


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


# What is refused: what is sent to each edge, the code that both answer, and the field that each names.


def changed(**members: Any) -> dict[str, Any]:
    return {"json": document() | members}


def of_input(**changes: Any) -> dict[str, Any]:
    return {"json": document(**changes)}


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
    with pytest.raises(InputTooLarge, match="outputs: 4002008 numbers one by one; wanted at most 4000000; binary"):
        read_request(content, headers[LENGTH], model, tiny_bundle, rules)
    content, headers = binary(frames, parameters={"binary_data_output": True})
    assert len(read_request(content, headers[LENGTH], model, tiny_bundle, rules).request.frames) == len(frames)
    typed, raw = request_of(frames[:0], raw=False), request_of(frames)
    typed.inputs[0].shape[0] = len(frames)
    with pytest.raises(InputTooLarge, match="outputs: 4002008 numbers one by one"):
        checked_request(typed, tiny_bundle, rules)
    assert len(checked_request(raw, tiny_bundle, rules).frames) == len(frames)


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
