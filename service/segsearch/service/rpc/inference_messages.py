"""Messages of `open_inference.proto` as what `service.inference` takes and gives: counted, read, checked, written.

T frames, F codes a frame.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from segsearch.core.bundle import Bundle
from segsearch.core.errors import InvalidInput
from segsearch.inference import open_inference_pb2 as pb
from segsearch.service.inference import (
    PLATFORM,
    Answer,
    ModelName,
    Request,
    Tensor,
    check_id,
    check_numbers,
    check_outputs,
    frame_count,
    frames_of,
    input_tensors,
    output_tensors,
)
from segsearch.service.rpc.methods import decoded
from segsearch.service.uploads.json_values import NUMBER_LIMIT
from segsearch.service.uploads.upload import Rules
from segsearch.service.uploads.wire import PACKED, Fields, Kind, check_cost

# What is counted of a request before it is read: a field may become a hundred bytes, a byte of a packed list eight.
_PARAMETERS: Final[Fields] = {2: {}}
_CONTENTS: Final[Fields] = dict.fromkeys(range(1, 8), PACKED)
_KIND: Final = Kind(
    "ModelInferRequest", "request", {4: _PARAMETERS, 5: {3: PACKED, 4: _PARAMETERS, 5: _CONTENTS}, 6: {2: _PARAMETERS}},
    field_cost=1000,
)  # fmt: skip
_COST_LIMIT: Final = 2 * NUMBER_LIMIT + 1_000_000  # a code from 128 up is two bytes long

_FRAMES_LIST: Final = "uint_contents"  # of `contents`, by datatype
_OUTPUT_LISTS: Final = {"FP32": "fp32_contents", "INT64": "int64_contents", "UINT16": "uint_contents"}


def read_request(message: bytes) -> pb.ModelInferRequest:
    """A request as it came; raises InputTooLarge for one that would hold too much, or InvalidInput."""
    check_cost(message, _COST_LIMIT, _KIND)
    return decoded(pb.ModelInferRequest, message, None)


def checked_request(request: pb.ModelInferRequest, bundle: Bundle, rules: Rules) -> Request:
    """What is asked of a model; raises InvalidInput or InputTooLarge, naming the field."""
    _check_parameters("parameters", request.parameters)
    if len(request.inputs) != 1:
        raise InvalidInput("inputs", f"{len(request.inputs)} of them", "one")
    field, given = "inputs[0]", request.inputs[0]
    _check_parameters(f"{field}.parameters", given.parameters)
    count = frame_count(field, Tensor(given.name, given.datatype, tuple(given.shape)), rules)
    for place, output in enumerate(request.outputs):
        _check_parameters(f"outputs[{place}].parameters", output.parameters)
    outputs = check_outputs([output.name for output in request.outputs])
    if not request.raw_input_contents:  # outputs come as the frames came
        check_numbers(bundle, count, outputs)
    return Request(
        model=ModelName(request.model_name, request.model_version),
        frames=frames_of(*_content(field, request), count, rules),
        outputs=outputs,
        id=check_id(request.id),
    )


def _content(field: str, request: pb.ModelInferRequest) -> tuple[str, bytes]:
    """The bytes of the input, raw or typed, and where they lie."""
    lists = {each.name: values for each, values in request.inputs[0].contents.ListFields()}
    raw = request.raw_input_contents
    if raw:
        if lists:
            raise InvalidInput(f"{field}.contents", "given beside raw_input_contents", "one of them")
        if len(raw) != 1:
            raise InvalidInput("raw_input_contents", f"{len(raw)} of them", "one for each input")
        return "raw_input_contents[0]", bytes(raw[0])
    if set(lists) - {_FRAMES_LIST}:
        raise InvalidInput(f"{field}.contents", ", ".join(lists), f"{_FRAMES_LIST}, where UINT8 lies")
    values = np.array(lists.get(_FRAMES_LIST, ()), np.uint32)
    beyond = values > np.iinfo(np.uint8).max
    if beyond.any():
        place = int(np.argmax(beyond))
        raise InvalidInput(
            f"{field}.contents.{_FRAMES_LIST}[{place}]", str(values[place]), "a whole number from 0 to 255"
        )
    return f"{field}.contents", values.astype(np.uint8).tobytes()


def _check_parameters(field: str, parameters: Mapping[str, object]) -> None:
    """Nothing that could be asked for so is known here, and whoever asks expects something of it."""
    for name in parameters:
        raise InvalidInput(f"{field}.{name[:80]}", "unknown", "no parameters")


def answer_message(answer: Answer, *, raw: bool) -> pb.ModelInferResponse:
    """raw: whether tensors come as bytes, else in lists of their datatype."""
    message = pb.ModelInferResponse(
        model_name=answer.model.name, model_version=answer.model.version, id=answer.id,
        parameters={"digest": pb.InferParameter(string_param=answer.digest)},
    )  # fmt: skip
    for tensor, values in answer.outputs:
        output = message.outputs.add(**tensor._asdict())
        if raw:
            message.raw_output_contents.append(values.tobytes())
        else:
            getattr(output.contents, _OUTPUT_LISTS[tensor.datatype]).extend(values.ravel().tolist())
    return message


def metadata_message(bundle: Bundle) -> pb.ModelMetadataResponse:
    """Which tensors a model takes and gives."""
    served = ModelName.of(bundle)
    return pb.ModelMetadataResponse(
        name=served.name, versions=[served.version], platform=PLATFORM,
        inputs=map(_tensor_message, input_tensors(bundle)), outputs=map(_tensor_message, output_tensors(bundle)),
    )  # fmt: skip


def _tensor_message(tensor: Tensor) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(**tensor._asdict())
