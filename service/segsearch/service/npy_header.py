"""The header of a `.npy` file, read strictly from bytes that nobody vouches for.

numpy's own reader falls back to a tokenizer for files of Python 2 and can raise nearly anything on damage; here all
that can go wrong is a ValueError. Format: numpy.lib.format, versions 1.0 and 2.0.
"""

import ast
import struct
from typing import Final, NamedTuple

_MAGIC: Final = b"\x93NUMPY"
_LENGTHS: Final = {b"\x01\x00": struct.Struct("<H"), b"\x02\x00": struct.Struct("<I")}
HEADER_LIMIT_BYTES: Final = 4096  # ours have 128; only record dtypes need more, and we read none
_MEMBERS: Final = {"descr", "fortran_order", "shape"}


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
    try:
        claims = ast.literal_eval(header.decode("ascii").strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueError("its header is not the text of a dictionary") from None
    if not isinstance(claims, dict) or set(claims) != _MEMBERS:
        raise ValueError(f"its header lacks some of {', '.join(sorted(_MEMBERS))}, or holds more")
    descr, fortran_order, shape = claims["descr"], claims["fortran_order"], claims["shape"]
    if not isinstance(descr, str) or not isinstance(fortran_order, bool):
        raise ValueError("an array of records or of objects, wanted plain numbers")
    if not isinstance(shape, tuple) or not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError("its shape is not made of whole numbers, none negative")
    return descr, fortran_order, shape
