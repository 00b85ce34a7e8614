"""Compressed request bodies, inflated piece by piece: what comes out at a time is bounded, whatever goes in.

Where it stands: `request_body` feeds what arrives and counts what comes out; this file knows no limit on the whole.
"""

import zlib
from collections.abc import Iterator
from typing import Final, Protocol

from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

from segsearch.core.errors import InvalidInput

CHUNK_BYTES: Final = 8 << 20  # the most that comes out at a time
_GZIP: Final = 16 + zlib.MAX_WBITS
# A window beyond 8 MB need not be read from the network (RFC 9659), and would be memory that a header asks for.
_ZSTD_WINDOW: Final[dict[int, int]] = {DecompressionParameter.window_log_max: 23}


class Inflater(Protocol):
    """Reads one compressed body."""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """What the next piece inflates to, in chunks of at most CHUNK_BYTES; raises InvalidInput on damage."""
        ...

    def finish(self) -> None:
        """Raises InvalidInput unless the compressed data had an end."""
        ...


class Gunzip:
    """Inflates one gzip member."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(_GZIP)

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """See Inflater."""
        while piece:
            try:
                chunk = self._inflater.decompress(piece, CHUNK_BYTES)
            except zlib.error as error:
                raise _damaged("gzip", str(error)) from None
            if chunk:
                yield chunk
            if self._inflater.unused_data:
                raise _damaged("gzip", "bytes behind its end")
            piece = self._inflater.unconsumed_tail

    def finish(self) -> None:
        """See Inflater."""
        if not self._inflater.eof:
            raise _damaged("gzip", "it ends too soon")


class Unzstd:
    """Inflates one Zstandard frame."""

    def __init__(self) -> None:
        self._inflater = ZstdDecompressor(options=_ZSTD_WINDOW)

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """See Inflater."""
        while piece or not (self._inflater.needs_input or self._inflater.eof):
            if self._inflater.eof:
                raise _damaged("zstd", "bytes behind its end")
            try:
                chunk = self._inflater.decompress(piece, CHUNK_BYTES)
            except ZstdError as error:
                raise _damaged("zstd", str(error)) from None
            if self._inflater.unused_data:
                raise _damaged("zstd", "bytes behind its end")
            piece = b""  # the inflater keeps what it has not come to
            if chunk:
                yield chunk

    def finish(self) -> None:
        """See Inflater."""
        if not self._inflater.eof:
            raise _damaged("zstd", "it ends too soon")


INFLATERS: Final[dict[str, type[Inflater]]] = {"gzip": Gunzip, "x-gzip": Gunzip, "zstd": Unzstd}


def _damaged(coding: str, found: str) -> InvalidInput:
    return InvalidInput("body", f"not {coding} ({found[:80]})", f"what `content-encoding: {coding}` says, once")
