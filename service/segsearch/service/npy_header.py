"""The header of a `.npy` file, read strictly from bytes that nobody vouches for.

numpy's own reader falls back to a tokenizer for files of Python 2 and can raise nearly anything on damage; here all
that can go wrong is a ValueError. Format: numpy.lib.format, versions 1.0 and 2.0.
"""

import re
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

_MAGIC: Final = b"\x93NUMPY"
_LENGTHS: Final = {b"\x01\x00": struct.Struct("<H"), b"\x02\x00": struct.Struct("<I")}
HEADER_LIMIT_BYTES: Final = 4096  # ours have 128; only record dtypes need more, and we read none
# Not ast.literal_eval: in Python 3.11 and 3.12 two threads that use it at the same time can fail one another.
_MEMBER: Final = re.compile(
    r"""(?P<quote>['"])(?P<name>\w+)(?P=quote)\s*:\s*(?P<value>'[^'\\]*'|"[^"\\]*"|\w+|\([^()]*\))\s*(?:,\s*|$)"""
)


class NpyHeader(NamedTuple):
    """What an array claims to be; whoever reads on checks that the bytes bear it out."""

    descr: str  # as numpy.dtype.str: "|u1"
    fortran_order: bool
    shape: tuple[int, ...]  # none negative
    data_start: int  # bytes before the first value


def read_npy_header(content: bytes | memoryview) -> NpyHeader:
    """The header at the beginning of `content`; raises ValueError saying what is wrong."""
    start = bytes(content[: len(_MAGIC) + 6])
    version = start[len(_MAGIC) : len(_MAGIC) + 2]
    if not start.startswith(_MAGIC) or version not in _LENGTHS:
        raise ValueError("does not begin as a .npy file of version 1.0 or 2.0")
    length_field = _LENGTHS[version]
    text_start = len(_MAGIC) + 2 + length_field.size
    if len(start) < text_start:
        raise ValueError("ends within its header")
    (length,) = length_field.unpack_from(start, len(_MAGIC) + 2)
    if length > HEADER_LIMIT_BYTES or text_start + length > len(content):
        raise ValueError(f"header of {length} bytes, wanted at most {HEADER_LIMIT_BYTES} and all of them there")
    return NpyHeader(*_claims(bytes(content[text_start : text_start + length])), text_start + length)


def _claims(header: bytes) -> tuple[str, bool, tuple[int, ...]]:
    text = header.decode("latin-1").strip()
    if not (text.startswith("{") and text.endswith("}")):
        raise ValueError("its header is not the text of a dictionary")
    claims = dict(_members(text[1:-1].strip()))
    if set(claims) != {"descr", "fortran_order", "shape"}:
        raise ValueError(f"its header has the members {sorted(claims)}, wanted descr, fortran_order and shape")
    return _quoted(claims["descr"]), _truth(claims["fortran_order"]), _shape(claims["shape"])


def _members(text: str) -> Iterator[tuple[str, str]]:
    """Names and values, as they are written."""
    end = 0
    while end < len(text):
        if not (member := _MEMBER.match(text, end)):
            raise ValueError("an array of records or of objects, wanted plain numbers")
        yield member["name"], member["value"]
        end = member.end()


def _quoted(text: str) -> str:
    if text[0] not in "'\"":
        raise ValueError(f"its descr is {text[:80]}, wanted a text")
    return text[1:-1]


def _truth(text: str) -> bool:
    if text not in ("True", "False"):
        raise ValueError(f"its fortran_order is {text[:80]}, wanted True or False")
    return text == "True"


def _shape(text: str) -> tuple[int, ...]:
    lengths = [length.strip() for length in text[1:-1].split(",")]
    if lengths[-1] == "":  # as in (3,) and ()
        lengths.pop()
    elif len(lengths) == 1:  # (3) is a number
        lengths = [text]
    if text[0] != "(" or not all(length.isdecimal() for length in lengths):
        raise ValueError("its shape is not made of whole numbers, none negative")
    return tuple(map(int, lengths))
