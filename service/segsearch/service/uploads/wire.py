"""Counts what a protobuf message holds before anything is built of it.

A protobuf field of two bytes becomes an object of a hundred, so that a body within its limit could ask for gigabytes.
This walks over the bytes, makes nothing, and stops as soon as there is too much. Format: protobuf.dev, "Encoding".

Where it stands: `record_frames` looks at SequenceExamples so, `rpc.inference_messages` at requests for inference.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from segsearch.core.errors import InputTooLarge, InvalidInput

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_FIXED_BYTES: Final = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}
_VARINT_LIMIT_BYTES: Final = 10

# By field number: the message that lies there. A map is a repeated message of key (1) and value (2). What is not named
# stays bytes, but for packed numbers: each of their bytes may become eight.
Fields = Mapping[int, "Fields"]
PACKED: Final[Fields] = {0: {}}
_BYTES_LIST: Final[Fields] = {}
_FEATURE: Final[Fields] = {1: _BYTES_LIST, 2: PACKED, 3: PACKED}
_FEATURES: Final[Fields] = {1: {2: _FEATURE}}
_FEATURE_LISTS: Final[Fields] = {1: {2: {1: _FEATURE}}}


class Kind(NamedTuple):
    """A kind of message, and what a field of it costs where a byte of packed values costs 1."""

    name: str
    holder: str  # how errors call what holds it
    fields: Fields
    field_cost: int = 1


SEQUENCE_EXAMPLE: Final = Kind("SequenceExample", "payload", {1: _FEATURES, 2: _FEATURE_LISTS})


class _Broken(Exception):
    """Bytes that are no message."""


def check_cost(body: bytes, limit: int, kind: Kind = SEQUENCE_EXAMPLE) -> None:
    """Raises InputTooLarge if fields and packed values cost more than `limit`, InvalidInput if the message breaks."""
    try:
        too_much = _costs_more(body, limit, kind)
    except _Broken as error:
        raise InvalidInput(kind.holder, f"not a protobuf message ({error})", kind.name) from None
    if too_much:
        most = limit // kind.field_cost
        raise InputTooLarge(kind.holder, f"more than {most} fields", f"at most {most}")


def _costs_more(body: bytes, limit: int, kind: Kind) -> bool:
    cost, waiting = 0, [(kind.fields, 0, len(body))]
    while waiting:
        message, start, stop = waiting.pop()
        for number, first, last in _fields(body, start, stop):
            inner = message.get(number)
            cost += kind.field_cost + (last - first if inner is PACKED else 0)
            if cost > limit:
                return True
            if inner is not None and inner is not PACKED and first < last:
                waiting.append((inner, first, last))
    return False


def _fields(body: bytes, at: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Number, first byte and end of each field between two places; of those that hold no bytes, an empty range."""
    while at < stop:
        key, at = _varint(body, at, stop)
        kind = key & 7
        if kind == _BYTES:
            length, at = _varint(body, at, stop)
            yield key >> 3, at, min(at + length, stop)
            at += length
        elif kind == _VARINT:
            _, at = _varint(body, at, stop)
            yield key >> 3, at, at
        elif kind in _FIXED_BYTES:
            at += _FIXED_BYTES[kind]
            yield key >> 3, at, at
        else:  # groups, which nest as deep as somebody likes, and kinds that do not exist
            raise _Broken(f"a field of wire type {kind}")
    if at > stop:
        raise _Broken("ends within a field")


def _varint(body: bytes, at: int, stop: int) -> tuple[int, int]:
    """A number and where it ends."""
    if at < stop and body[at] < 0x80:  # nearly every number
        return body[at], at + 1
    value = 0
    for place, byte in enumerate(body[at : min(at + _VARINT_LIMIT_BYTES, stop)]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise _Broken("a number that does not end")
