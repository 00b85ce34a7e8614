"""Reading a request's body: compressed or not, with its limits enforced while it arrives."""

import asyncio
import io
from dataclasses import dataclass

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from segsearch.core.errors import InputTooLarge, TooSlow, UnsupportedContent
from segsearch.service.rest.inflating import INFLATERS, Inflater


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How much a body may hold, before and after inflating, and how long it may take to arrive."""

    size_bytes: int
    time_s: float


async def read_body(request: Request, limits: BodyLimits) -> bytes:
    """The whole body, inflated.

    Raises InputTooLarge as soon as it passes the limit, whatever length it announced; TooSlow; UnsupportedContent for
    an encoding that is not read; InvalidInput for compressed data that are damaged.
    """
    inflater = _inflater(request)
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > limits.size_bytes:
        raise InputTooLarge("body", f"{announced} bytes", f"at most {limits.size_bytes}")
    body = io.BytesIO()  # gives its bytes away without a copy
    try:
        async with asyncio.timeout(limits.time_s):
            async for piece in request.stream():
                if inflater is None:
                    _append(body, piece, limits.size_bytes)
                else:
                    await run_in_threadpool(inflate_into, body, inflater, piece, limits.size_bytes)
    except TimeoutError:
        raise TooSlow("body", limits.time_s) from None
    if inflater is not None:
        inflater.finish()
    return body.getvalue()


def _inflater(request: Request) -> Inflater | None:
    """What undoes the body's encoding; None where there is none to undo."""
    # Encodings that lie in one another would multiply what a byte can inflate to.
    encoding = ", ".join(request.headers.getlist("content-encoding")).strip().lower() or "identity"
    if encoding == "identity":
        return None
    if encoding not in INFLATERS:
        raise UnsupportedContent("content-encoding", repr(encoding[:80]), f"one of {', '.join(INFLATERS)}, or none")
    return INFLATERS[encoding]()


def inflate_into(body: io.BytesIO, inflater: Inflater, piece: bytes, limit_bytes: int) -> None:
    """Inflates a piece behind what is there; raises InputTooLarge. It takes a processor, so threads do it."""
    for chunk in inflater.feed(piece):
        _append(body, chunk, limit_bytes)


def _append(body: io.BytesIO, piece: bytes, limit_bytes: int) -> None:
    body.write(piece)
    if body.tell() > limit_bytes:
        raise InputTooLarge("body", f"more than {limit_bytes} bytes", f"at most {limit_bytes}")
