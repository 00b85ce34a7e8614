"""What a model file may hold, checked before ONNX Runtime sees it: no data outside the file, no foreign operators.

ONNX tensors can name another file for their data, with paths that have led outside the model's folder more than once
(CVE-2022-25882, CVE-2024-27318). We refuse such tensors wherever they stand. This walks the protobuf wire format with
the field numbers of onnx.proto, as the serving install carries no `onnx`; tensor data are stepped over, never copied.
"""

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from segsearch.core.errors import BundleRefused

# What onnxruntime brings itself; anything else would need a library loaded beside it.
DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"})
_DEPTH_LIMIT = 32
_NODE_LIMIT = 20_000  # the largest of our networks has a few hundred; loading a hundred thousand takes minutes

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# message -> field number -> message below it (onnx.proto); fields that are not here are stepped over.
_BELOW: Final[Mapping[str, Mapping[int, str]]] = {
    "model": {7: "graph", 8: "opset", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "function": {7: "node", 9: "opset", 11: "attribute"},
}
_DOMAIN_FIELD: Final = {"node": 7, "opset": 1}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of a tensor


def check_model_file(path: Path) -> None:
    """Raises BundleRefused if the model reads other files, uses custom operators, or is no ONNX model."""
    try:
        with path.open("rb") as file:
            # Left to the collector: closing it while an error's traceback holds a slice would raise another error.
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        reason = _objection(content, "model", 0) or _too_many_nodes(content)
    except (OSError, ValueError, IndexError) as error:
        reason = f"not an ONNX model ({error})"
    if reason:
        raise BundleRefused(path.parent, f"{path.name}: {reason}")


def _objection(content: memoryview, message: str, depth: int) -> str | None:
    if depth > _DEPTH_LIMIT:
        return f"graphs nested deeper than {_DEPTH_LIMIT}"
    for number, value in _fields(content):
        if message == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value)):
            return "a tensor keeps its data outside the model file"
        if isinstance(value, int):
            continue
        if number == _DOMAIN_FIELD.get(message) and (domain := str(value, "utf-8", "replace")) not in DOMAINS:
            return f"operators of domain {domain[:80]!r}, wanted only {', '.join(sorted(DOMAINS - {''}))}"
        below = _BELOW.get(message, {}).get(number)
        if below is not None and (reason := _objection(value, below, depth + 1)):
            return reason
    return None


def _too_many_nodes(content: memoryview) -> str | None:
    count = _node_count(content, "model")
    return f"{count} operators, wanted at most {_NODE_LIMIT}" if count > _NODE_LIMIT else None


def _node_count(content: memoryview, message: str) -> int:
    """Operators in a message and all graphs and functions below it."""
    below = _BELOW.get(message, {})
    inner = [(value, below[number]) for number, value in _fields(content) if number in below]
    return (message == "node") + sum(_node_count(value, kind) for value, kind in inner if not isinstance(value, int))


def _fields(content: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field numbers with their values, a varint or the bytes of a length-delimited field, in order."""
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(content, at)
            yield tag >> 3, value
        elif kind == _BYTES:
            length, at = _varint(content, at)
            if at + length > len(content):
                raise ValueError("a field runs past the end")
            yield tag >> 3, content[at : at + length]
            at += length
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind}")


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a varint longer than 10 bytes")
