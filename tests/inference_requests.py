"""Requests of the Open Inference Protocol, what is in their answers, and a server that is a process.

T frames, F codes a frame.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import httpx
import numpy as np

from segsearch.core.bundle import Bundle
from segsearch.inference import open_inference_pb2 as pb
from segsearch.service.index.index_directory import IndexDirectory
from tests.conftest import ROOT
from tests.integration.test_serving_grpc import served
from tests.library_fixtures import make_videos
from tests.rpc_serving import TIMEOUT_S

LENGTH = "Inference-Header-Content-Length"
PATH = "/v2/models/tiny/infer"
SERVICE = "inference.GRPCInferenceService"
VIDEOS = [video.frames for video in make_videos(4, seed=21)]
FRAMES = VIDEOS[0]  # (T, F) uint8
_DTYPES = {"FP32": np.float32, "UINT16": np.uint16, "INT64": np.int64}
_LISTS = {"FP32": "fp32_contents", "UINT16": "uint_contents", "INT64": "int64_contents"}

Tensors = dict[str, np.ndarray]
Edges = tuple[httpx.Client, grpc.Channel]


@contextmanager
def both_edges(index: IndexDirectory, bundle: Bundle) -> Iterator[Edges]:
    """Both edges of one process; frames up to 200, bodies up to 100 kB."""
    limits = ("--threads", 1, "--frame-limit", 200, "--body-limit-bytes", 100_000, "--no-live")
    with (
        served(index, bundle, *limits) as (told, _),
        httpx.Client(base_url=told["url"], timeout=TIMEOUT_S) as rest,
        grpc.insecure_channel(told["grpc"]) as channel,
    ):
        yield rest, channel


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
        dtype = _DTYPES[output["datatype"]]
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
    for place, output in enumerate(answer.outputs):
        dtype = _DTYPES[output.datatype]
        if answer.raw_output_contents:
            values = np.frombuffer(answer.raw_output_contents[place], dtype)
        else:
            values = np.array(getattr(output.contents, _LISTS[output.datatype]), dtype)
        found[output.name] = values.reshape(output.shape)
    return found


def input_of(**members: Any) -> pb.ModelInferRequest.InferInputTensor:
    return pb.ModelInferRequest.InferInputTensor(
        **{"name": "frames", "datatype": "UINT8", "shape": FRAMES.shape, **members}
    )


def outputs_of(*names: str, **members: Any) -> dict[str, Any]:
    return {"outputs": [pb.ModelInferRequest.InferRequestedOutputTensor(name=name, **members) for name in names]}


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """A problem document, which says what is wrong in the protocol's words, too."""
    assert answer.status_code == status, answer.text
    problem = dict(answer.json())
    assert problem["type"] == f"/problems/{code}"
    assert problem["error"] == problem["detail"]
    assert str(ROOT) not in answer.text
    return problem
