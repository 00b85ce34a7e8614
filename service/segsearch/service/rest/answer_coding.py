"""Compresses long answers for clients that say they read it (RFC 9110, `Accept-Encoding`)."""

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

from backports.zstd import ZstdCompressor, compress

WORTHWHILE_BYTES: Final = 1024  # a shorter answer fits a packet or two as it is
# Low levels: a long list of hits shrinks five to ten times with them, and nobody waits for the last percent.
_ZSTD_LEVEL, _GZIP_LEVEL = 1, 1


def _zstd(content: bytes) -> bytes:
    return compress(content, _ZSTD_LEVEL)


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, _GZIP_LEVEL, mtime=0)  # mtime: the same answer has the same bytes


CODINGS: Final[dict[str, Callable[[bytes], bytes]]] = {"zstd": _zstd, "gzip": _gzip}  # the better one first


def encoded(content: bytes, accept: str) -> tuple[bytes, dict[str, str]]:
    """The content as the client likes it best, and the headers that say so. accept: its `Accept-Encoding`."""
    headers = {"Vary": "Accept-Encoding"}
    coding = best_coding(accept) if len(content) >= WORTHWHILE_BYTES else None
    if coding is None:
        return content, headers
    return CODINGS[coding](content), {**headers, "Content-Encoding": coding}


def coded_stream(parts: Iterable[bytes], coding: str) -> Iterator[bytes]:
    """Content that comes in parts, in one of our codings; what comes out is one frame, or member."""
    press: _Press = ZstdCompressor(_ZSTD_LEVEL) if coding == "zstd" else _gzip_stream()
    for part in parts:
        if coded := press.compress(part):
            yield coded
    yield press.flush()


class _Press(Protocol):
    """Compresses what comes in parts."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


def _gzip_stream() -> _Press:
    return zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)


def best_coding(accept: str) -> str | None:
    """Of our codings the one with the client's highest weight, the first of equals; None for neither."""
    weights = dict(map(_weighed, accept.lower().split(",")))
    known = [coding for coding in CODINGS if weights.get(coding, 0.0) > 0]
    return max(known, key=lambda coding: weights[coding], default=None)


def _weighed(part: str) -> tuple[str, float]:
    """`gzip;q=0.5` as a pair; a weight that is none counts as a refusal."""
    coding, _, parameter = part.partition(";")
    name, _, value = parameter.strip().partition("=")
    if not name:
        return coding.strip(), 1.0
    try:
        return coding.strip(), float(value) if name.strip() == "q" else 0.0
    except ValueError:
        return coding.strip(), 0.0
