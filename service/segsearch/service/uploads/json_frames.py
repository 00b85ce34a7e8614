"""Frames as JSON: for each stream rows of numbers, or base64 of the same bytes. Every fault names its place.

T frames, F codes a frame.
"""

import base64
import binascii
from typing import Any

import numpy as np

from segsearch.core.errors import InvalidInput
from segsearch.core.features import Stream
from segsearch.core.videos import check_video_id
from segsearch.service.uploads.json_values import check_marks, check_members, parsed, row_bytes, shown
from segsearch.service.uploads.upload import Rules, Upload


def parse_json(body: bytes, rules: Rules) -> Upload:
    """The upload of `{"video_id": ..., "frames": {stream: rows or base64}}`; raises InvalidInput or InputTooLarge."""
    check_marks(body, rules.frame_limit * len(rules.spec.streams), "base64 and .npy hold more")
    document = parsed(body, "an object with `frames`")
    check_members("body", document, {"frames"}, {"video_id"})
    video_id, frames = document.get("video_id"), document["frames"]
    if "video_id" in document:
        if not isinstance(video_id, str):
            raise InvalidInput("video_id", shown(video_id), "a string")
        check_video_id(video_id, "video_id")
    check_members("frames", frames, {stream.name for stream in rules.spec.streams}, set())
    streams = {stream.name: _stream(stream, frames[stream.name], rules) for stream in rules.spec.streams}
    return Upload(rules.side_by_side("frames", streams), video_id)


def _stream(stream: Stream, value: Any, rules: Rules) -> np.ndarray:
    """(T, size) uint8 of one stream."""
    field = f"frames.{stream.name}"
    if isinstance(value, str):
        data = _decoded(field, value)
        if len(data) % stream.size:
            raise InvalidInput(field, f"{len(data)} bytes", f"a multiple of {stream.size}")
        rules.check_length(field, len(data) // stream.size)
    elif isinstance(value, list):
        rules.check_length(field, len(value))
        data = b"".join([row_bytes(f"{field}[{second}]", row, stream.size) for second, row in enumerate(value)])
    else:
        raise InvalidInput(field, shown(value), f"rows of {stream.size} numbers, or base64 of their bytes")
    return np.frombuffer(data, np.uint8).reshape(-1, stream.size)


def _decoded(field: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(field, f"not base64 ({error})", "standard base64 with padding") from None
