"""Counts what a SequenceExample holds before anything is built of it.

A protobuf field of two bytes becomes an object of a hundred, so that a body within its limit could ask for gigabytes.
This walks over the bytes, makes nothing, and stops as soon as there is too much. Format: protobuf.dev, "Encoding".
"""

from collections.abc import Iterator
from typing import Final

from segsearch.core.errors import InputTooLarge, InvalidInput

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_FIXED_BYTES: Final = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}
_VARINT_LIMIT_BYTES: Final = 10

# By field number: the message that lies there. A map is a repeated message of key (1) and value (2). What is not named
# stays bytes, but for packed numbers: each of their bytes may become eight.
_Message = dict[int, "_Message"]
_PACKED: Final[_Message] = {0: {}}
_BYTES_LIST: Final[_Message] = {}
_FEATURE: Final[_Message] = {1: _BYTES_LIST, 2: _PACKED, 3: _PACKED}
_FEATURES: Final[_Message] = {1: {2: _FEATURE}}
_FEATURE_LISTS: Final[_Message] = {1: {2: {1: _FEATURE}}}
_SEQUENCE_EXAMPLE: Final[_Message] = {1: _FEATURES, 2: _FEATURE_LISTS}


def check_cost(body: bytes, limit: int) -> None:
    """Raises InputTooLarge if the message has more than `limit` fields and packed values, InvalidInput if it breaks."""
    cost, waiting = 0, [(_SEQUENCE_EXAMPLE, 0, len(body))]
    while waiting:
        message, start, stop = waiting.pop()
        for number, first, last in _fields(body, start, stop):
            inner = message.get(number)
            cost += 1 + last - first if inner is _PACKED else 1
            if cost > limit:
                raise InputTooLarge("payload", f"more than {limit} fields", f"at most {limit}")
            if inner is not None and inner is not _PACKED and first < last:
                waiting.append((inner, first, last))


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
            raise _broken(f"a field of wire type {kind}")
    if at > stop:
        raise _broken("ends within a field")


def _varint(body: bytes, at: int, stop: int) -> tuple[int, int]:
    """A number and where it ends."""
    if at < stop and body[at] < 0x80:  # nearly every number
        return body[at], at + 1
    value = 0
    for place, byte in enumerate(body[at : min(at + _VARINT_LIMIT_BYTES, stop)]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise _broken("a number that does not end")


def _broken(found: str) -> InvalidInput:
    return InvalidInput("payload", f"not a protobuf message ({found})", "SequenceExample")
