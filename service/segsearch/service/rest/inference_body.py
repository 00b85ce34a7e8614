"""Reads requests for inference: JSON, and behind it what the binary tensor extension puts there.

Where it stands: `inference` reads a body within its limits, this file finds frames and wishes in it. A parameter that
it does not know is refused, as whoever sends one expects something of it.

T frames, F codes a frame.
"""

from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np

from segsearch.core.bundle import Bundle
from segsearch.core.errors import InvalidInput
from segsearch.service.inference import (
    FRAMES,
    FRAMES_TYPE,
    ID_LIMIT,
    OUTPUT_NAMES,
    ModelName,
    Request,
    Tensor,
    check_id,
    check_numbers,
    check_outputs,
    frame_count,
    frames_of,
)
from segsearch.service.uploads.json_values import (
    check_marks,
    check_members,
    parsed,
    row_bytes,
    shown,
)
from segsearch.service.uploads.upload import Rules

JSON, BINARY = "application/json", "application/octet-stream"
LENGTH_HEADER: Final = "Inference-Header-Content-Length"  # bytes of JSON in front of the tensors
_DIGITS: Final = 18  # of a length that a body can have

J = TypeVar("J", str, list[Any], dict[str, Any])
P = TypeVar("P", bool, int)


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """A request, and which of its outputs are to lie behind the JSON of its answer."""

    request: Request
    binary: frozenset[str]


def read_request(body: bytes, length: str | None, model: ModelName, bundle: Bundle, rules: Rules) -> Body:
    """length: what LENGTH_HEADER says, if anything. Raises InvalidInput or InputTooLarge, naming the field."""
    text, behind = _parts(body, length)
    check_marks(text, rules.frame_limit, "binary data hold more")
    document = parsed(text, f"an object with `inputs`; {LENGTH_HEADER} where tensors lie behind it")
    # Triton's own examples name the model once more; the path says which one it is.
    check_members("body", document, {"inputs"}, {"id", "parameters", "outputs", "model_name", "model_version"})
    frames = _frames(document["inputs"], behind, rules)
    wishes = _wishes(_member("outputs", document, list) or [])
    outputs = check_outputs([name for name, _ in wishes])
    all_binary = _parameter("parameters", document, "binary_data_output", bool)
    wanted = {name: all_binary if wish is None else wish for name, wish in wishes}
    binary = frozenset(name for name in outputs if wanted.get(name, all_binary))
    check_numbers(bundle, len(frames), set(outputs) - binary)
    return Body(Request(model, frames, outputs, check_id(_member("id", document, str) or "")), binary)


def _parts(body: bytes, length: str | None) -> tuple[bytes, memoryview | None]:
    """The JSON, and what lies behind it; None where no header says that something does."""
    if length is None:
        return body, None
    if not length.isdecimal() or len(length) > _DIGITS or int(length) > len(body):
        raise InvalidInput(LENGTH_HEADER, repr(length[:80]), f"how many of the body's {len(body)} bytes are JSON")
    return body[: int(length)], memoryview(body)[int(length) :]


def _frames(inputs: Any, behind: memoryview | None, rules: Rules) -> np.ndarray:
    """(T, F) uint8 of the one input."""
    if not isinstance(inputs, list) or len(inputs) != 1:
        raise InvalidInput(
            "inputs", f"{len(inputs)} of them" if isinstance(inputs, list) else shown(inputs), "a list of one"
        )
    field, given = "inputs[0]", inputs[0]
    check_members(field, given, {"name", "shape", "datatype"}, {"parameters", "data"})
    count = frame_count(field, _tensor(field, given), rules)
    size = _parameter(f"{field}.parameters", given, "binary_data_size", int)
    if size is not None:
        data = _binary(field, given, size, behind)
        return frames_of(f"{field}.parameters.binary_data_size", data, count, rules)
    if behind:
        raise InvalidInput("body", f"{len(behind)} bytes behind its JSON", f"{field}.parameters.binary_data_size")
    return frames_of(f"{field}.data", _listed(f"{field}.data", given.get("data"), count, rules.spec.size), count, rules)


def _tensor(field: str, given: dict[str, Any]) -> Tensor:
    for member in ("name", "datatype"):
        if not isinstance(given[member], str):
            raise InvalidInput(f"{field}.{member}", shown(given[member]), "a string")
    shape = given["shape"]
    if not isinstance(shape, list) or any(type(axis) is not int for axis in shape):
        raise InvalidInput(f"{field}.shape", shown(shape), "a list of whole numbers")
    return Tensor(given["name"], given["datatype"], tuple(shape))


def _binary(field: str, given: dict[str, Any], size: int, behind: memoryview | None) -> memoryview:
    """The tensor's bytes behind the JSON."""
    if "data" in given:
        raise InvalidInput(f"{field}.data", "given beside parameters.binary_data_size", "one of them")
    if behind is None:
        raise InvalidInput(LENGTH_HEADER, "missing", "how many of the body's bytes are JSON")
    if size != len(behind):
        wanted = f"{len(behind)}, as many as lie behind the JSON"
        raise InvalidInput(f"{field}.parameters.binary_data_size", shown(size), wanted)
    return behind


def _listed(field: str, data: Any, count: int, size: int) -> bytes:
    """The bytes of a tensor that is a list of numbers, or a list of rows of them."""
    if not isinstance(data, list) or not data or not isinstance(data[0], list):
        return row_bytes(field, data, count * size)
    if len(data) != count:
        raise InvalidInput(field, f"{len(data)} rows", f"{count}, as the shape says")
    return b"".join([row_bytes(f"{field}[{frame}]", row, size) for frame, row in enumerate(data)])


def _wishes(outputs: list[Any]) -> list[tuple[str, bool | None]]:
    """Names of outputs, and whether each is to be binary; None where its request does not say."""
    wishes = []
    for place, given in enumerate(outputs):
        field = f"outputs[{place}]"
        check_members(field, given, {"name"}, {"parameters"})
        if not isinstance(given["name"], str):
            raise InvalidInput(f"{field}.name", shown(given["name"]), "a string")
        wishes.append((given["name"], _parameter(f"{field}.parameters", given, "binary_data", bool)))
    return wishes


def _member(field: str, holder: dict[str, Any], kind: type[J]) -> J | None:
    """An optional member; None where it is not given. field: ends with its name."""
    value = holder.get(field.rpartition(".")[2])
    if value is not None and not isinstance(value, kind):
        wanted = {str: "a string", list: "a list", dict: "an object"}[kind]
        raise InvalidInput(field, shown(value), wanted)
    return value


def _parameter(field: str, holder: dict[str, Any], name: str, kind: type[P]) -> P | None:
    """The one parameter that means something where this lies; None where it is not given."""
    parameters: dict[str, Any] = _member(field, holder, dict) or {}
    check_members(field, parameters, set(), {name})
    value = parameters.get(name)
    if value is not None and type(value) is not kind:  # not isinstance: a bool would pass as a number
        raise InvalidInput(f"{field}.{name}", shown(value), "true or false" if kind is bool else "a whole number")
    return value


# For OpenAPI, which cannot see what is read by hand


def _object(required: list[str], **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}


_CODE = {"type": "integer", "minimum": 0, "maximum": 255}
_INPUT = _object(
    ["name", "shape", "datatype"],
    name={"const": FRAMES},
    shape={
        "type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 2, "maxItems": 2,
        "description": "Frames, codes a frame.",
    },
    datatype={"const": FRAMES_TYPE},
    data={
        "type": "array", "items": {"anyOf": [_CODE, {"type": "array", "items": _CODE}]},
        "description": "Codes row by row, or a list of them for each frame.",
    },
    parameters=_object([], binary_data_size={"type": "integer", "description": "In place of `data`."}),
)  # fmt: skip
_OUTPUT = _object(
    ["name"],
    name={"enum": list(OUTPUT_NAMES)},
    parameters=_object([], binary_data={"type": "boolean", "description": "Whether it is to lie behind the JSON."}),
)
_REQUEST = _object(
    ["inputs"],
    id={"type": "string", "maxLength": ID_LIMIT},
    model_name={"type": "string", "description": "Not looked at: the path says it."},
    model_version={"type": "string", "description": "Not looked at: the path says it."},
    inputs={"type": "array", "items": _INPUT, "minItems": 1, "maxItems": 1},
    outputs={"type": "array", "items": _OUTPUT, "uniqueItems": True, "description": "None: all that the model has."},
    parameters=_object([], binary_data_output={"type": "boolean", "description": "What holds where none says it."}),
)
BYTES: Final[dict[str, Any]] = {BINARY: {"schema": {"type": "string", "format": "binary"}}}
REQUEST_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": f"Frames of one video. Binary tensors lie behind the JSON, whose length is in {LENGTH_HEADER}.",
        "content": {JSON: {"schema": _REQUEST}, **BYTES},
    }
}
