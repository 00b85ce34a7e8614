"""Frames as JSON: for each stream rows of numbers, or base64 of the same bytes. Every fault names its place.

T frames, F codes a frame.
"""

import base64
import binascii
import json
from typing import Any, Final

import numpy as np

from segsearch.core.errors import InputTooLarge, InvalidInput
from segsearch.core.features import Stream
from segsearch.core.videos import check_video_id
from segsearch.service.rest.uploads.upload import Rules, Upload

# Lists, objects and texts that a body may hold beside its rows. Each is many times larger in memory than the bytes
# that spell it, so they are counted before the first is made.
_MARK_LIMIT: Final = 100_000
# A number takes up to twelve times its text, and reading it holds up every other thread: an hour of YouTube-8M frames.
_NUMBER_LIMIT: Final = 4_000_000


def parse_json(body: bytes, rules: Rules) -> Upload:
    """The upload of `{"video_id": ..., "frames": {stream: rows or base64}}`; raises InvalidInput or InputTooLarge."""
    _check_marks(body, rules)
    try:
        document = json.loads(body, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("body", f"not JSON ({error})", "an object with `frames`") from None
    _check_members("body", document, {"frames"}, {"video_id"})
    video_id, frames = document.get("video_id"), document["frames"]
    if "video_id" in document:
        if not isinstance(video_id, str):
            raise InvalidInput("video_id", _shown(video_id), "a string")
        check_video_id(video_id, "video_id")
    _check_members("frames", frames, {stream.name for stream in rules.spec.streams}, set())
    streams = {stream.name: _stream(stream, frames[stream.name], rules) for stream in rules.spec.streams}
    return Upload(rules.side_by_side("frames", streams), video_id)


def _check_marks(body: bytes, rules: Rules) -> None:
    rows = rules.frame_limit * len(rules.spec.streams)
    limits = {
        "lists": (b"[", rows + _MARK_LIMIT), "objects": (b"{", _MARK_LIMIT), "texts": (b'"', _MARK_LIMIT),
        "values": (b",", _NUMBER_LIMIT),
    }  # fmt: skip
    for things, (mark, limit) in limits.items():
        # In UTF-16 and UTF-32 the mark's byte stands for itself, too, so that nothing is missed.
        if (count := body.count(mark)) > limit:
            raise InputTooLarge("body", f"{count} {things}", f"at most {limit}; base64 and .npy hold more")


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object as a dictionary; of two members of one name JSON's readers keep now the first, now the last."""
    found = dict(members)
    if len(found) < len(members):
        names = [name for name, _ in members]
        raise InvalidInput(f"body: {_shown(next(name for name in names if names.count(name) > 1))}", "twice", "once")
    return found


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
        data = b"".join([_row(f"{field}[{second}]", row, stream.size) for second, row in enumerate(value)])
    else:
        raise InvalidInput(field, _shown(value), f"rows of {stream.size} numbers, or base64 of their bytes")
    return np.frombuffer(data, np.uint8).reshape(-1, stream.size)


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
