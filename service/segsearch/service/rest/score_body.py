"""The body of `POST /score`: frames of one video, as JSON or as a `.npy` array.

Where it stands: `routes` hands over the bytes, `library` gets the frames. Nothing is allocated on a header's word, and
nothing is ever unpickled. Every fault names its field and place.

T frames, F codes a frame.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from segsearch.core.errors import InputTooLarge, InvalidInput, UnsupportedContent
from segsearch.core.features import FeatureSpec, Stream
from segsearch.core.videos import check_video_id
from segsearch.service.npy_header import read_npy_header

JSON, NPY = "application/json", "application/x-npy"
UNNAMED: Final = "upload"

# For OpenAPI, which cannot see what is read by hand.
_ROWS = {"type": "array", "items": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}}}
_BASE64 = {"type": "string", "format": "byte", "description": "Base64 of the rows, one behind the other."}
_VIDEO_ID = {"type": "string", "minLength": 1, "maxLength": 256, "default": UNNAMED}
_FRAMES = {
    "type": "object",
    "description": "One member for each feature stream of the bundle (/readyz lists them), a row a second.",
    "additionalProperties": {"oneOf": [_ROWS, _BASE64]},
}
_OBJECT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["frames"],
    "properties": {"video_id": _VIDEO_ID, "frames": _FRAMES},
}
_ARRAY = {"type": "string", "format": "binary", "description": "numpy.save of a uint8 array (frames, codes a frame)."}
REQUEST_BODY: Final[dict[str, Any]] = {
    "requestBody": {"required": True, "content": {JSON: {"schema": _OBJECT}, NPY: {"schema": _ARRAY}}}
}


@dataclass(frozen=True, slots=True, eq=False)
class Upload:
    """One video to score."""

    video_id: str
    frames: np.ndarray  # (T, F) uint8


@dataclass(frozen=True, slots=True)
class UploadReader:
    """Reads bodies into uploads for a model of `spec`; longer videos than `frame_limit` are refused."""

    spec: FeatureSpec
    frame_limit: int

    def read(self, content_type: str, body: bytes, video_id: str | None) -> Upload:
        """Raises UnsupportedContent, InputTooLarge, or InvalidInput naming the field.

        video_id: from the query; only for `.npy`, which has no room for one.
        """
        kind = content_type.partition(";")[0].strip().lower()
        if kind == JSON:
            upload = self._from_json(body)
            if video_id is not None:
                raise InvalidInput("query.video_id", "given beside a JSON body", "`video_id` inside the body")
        elif kind == NPY:
            if video_id is not None:
                check_video_id(video_id, "query.video_id")
            upload = Upload(UNNAMED if video_id is None else video_id, self._from_npy(body))
        else:
            raise UnsupportedContent("content-type", repr(kind[:80]) if kind else "none", f"{JSON} or {NPY}")
        return upload

    def _from_json(self, body: bytes) -> Upload:
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise InvalidInput("body", f"not JSON ({error})", "an object with `frames`") from None
        _check_members("body", document, {"frames"}, {"video_id"})
        video_id, frames = document.get("video_id", UNNAMED), document["frames"]
        if not isinstance(video_id, str):
            raise InvalidInput("video_id", _shown(video_id), "a string")
        check_video_id(video_id, "video_id")
        _check_members("frames", frames, {stream.name for stream in self.spec.streams}, set())
        streams = {stream.name: self._stream(stream, frames[stream.name]) for stream in self.spec.streams}
        lengths = {name: len(codes) for name, codes in streams.items()}
        if len(set(lengths.values())) > 1:
            raise InvalidInput("frames", f"streams of unequal length {lengths}", "one row a second in each")
        return Upload(video_id, np.concatenate(list(streams.values()), axis=1))

    def _stream(self, stream: Stream, value: Any) -> np.ndarray:
        """(T, size) uint8 of one stream, given as rows of numbers or as base64 of the same bytes."""
        field = f"frames.{stream.name}"
        if isinstance(value, str):
            data = _decoded(field, value)
            if len(data) % stream.size:
                raise InvalidInput(field, f"{len(data)} bytes", f"a multiple of {stream.size}")
            self._check_length(field, len(data) // stream.size)
        elif isinstance(value, list):
            self._check_length(field, len(value))
            data = b"".join([_row(f"{field}[{second}]", row, stream.size) for second, row in enumerate(value)])
        else:
            raise InvalidInput(field, _shown(value), f"rows of {stream.size} numbers, or base64 of their bytes")
        return np.frombuffer(data, np.uint8).reshape(-1, stream.size)

    def _from_npy(self, body: bytes) -> np.ndarray:
        """The (T, F) array of a `.npy` body; its header is believed only where the bytes bear it out."""
        try:
            descr, fortran, shape, start = read_npy_header(body)
        except ValueError as error:
            raise InvalidInput("body", f"not a .npy array ({error})", "numpy.save of a uint8 array") from None
        if descr != np.dtype(np.uint8).str:
            raise InvalidInput("body", f"array of {descr[:80]!r}", "uint8")
        if len(shape) != 2 or shape[1] != self.spec.size:
            raise InvalidInput("body", f"array of shape {shape}", f"(frames, {self.spec.size}): {self.spec}")
        self._check_length("body", shape[0])
        if len(body) - start != shape[0] * shape[1]:
            raise InvalidInput("body", f"{len(body) - start} bytes of data", f"{shape[0] * shape[1]} for shape {shape}")
        return np.frombuffer(body, np.uint8, offset=start).reshape(shape, order="F" if fortran else "C")

    def _check_length(self, field: str, frame_count: int) -> None:
        if frame_count < 1:
            raise InvalidInput(field, f"{frame_count} frames", "at least 1")
        if frame_count > self.frame_limit:
            raise InputTooLarge(field, f"{frame_count} frames", f"at most {self.frame_limit}")


def _check_members(field: str, value: Any, wanted: set[str], optional: set[str]) -> None:
    """An object with these members and no others: a misspelt one must not be passed over."""
    if not isinstance(value, dict):
        raise InvalidInput(field, _shown(value), f"an object with {', '.join(sorted(wanted))}")
    if missing := sorted(wanted - set(value)):
        raise InvalidInput(f"{field}.{missing[0]}", "missing", f"{', '.join(sorted(wanted))} in {field}")
    if unknown := sorted(set(value) - wanted - optional):
        raise InvalidInput(
            f"{field}.{_shown(unknown[0])[1:-1]}", "unknown", f"only {', '.join(sorted(wanted | optional))}"
        )


def _row(field: str, row: Any, size: int) -> bytes:
    """One frame's codes. The error names the position of the first value that is no byte."""
    if not isinstance(row, list):
        raise InvalidInput(field, _shown(row), f"a list of {size} numbers")
    if len(row) != size:
        raise InvalidInput(field, f"{len(row)} values", f"{size}")
    if set(map(type, row)) == {int}:  # not isinstance: a bool would pass as a number
        try:
            return bytes(row)
        except (ValueError, OverflowError):
            pass
    at, value = next((at, value) for at, value in enumerate(row) if type(value) is not int or not 0 <= value <= 255)
    raise InvalidInput(f"{field}[{at}]", _shown(value), "a whole number from 0 to 255")


def _decoded(field: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(field, f"not base64 ({error})", "standard base64 with padding") from None


def _shown(value: Any) -> str:
    """A JSON value as an error names it: containers by kind, the rest by value, shortened."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 64:
        return "a number beyond 64 bits"
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
