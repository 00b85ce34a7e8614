"""Reading a request's body: compressed or not, with its limits enforced while it arrives."""

import asyncio
from dataclasses import dataclass

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from segsearch.core.errors import TooSlow, UnsupportedContent
from segsearch.service.rest.body_room import Body, BodyRoom
from segsearch.service.rest.exchange import client_of
from segsearch.service.rest.inflating import INFLATERS, Inflater

_LENGTH_DIGITS = 19  # int() refuses thousands of them with an error of its own


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How much a body may hold, before and after inflating, how long it may take to arrive, and what all share."""

    size_bytes: int
    time_s: float
    room: BodyRoom


async def body_of(request: Request, limits: BodyLimits) -> Body:
    """The whole body, inflated; whoever asks lets go of it.

    Raises InputTooLarge as soon as it passes the limit, whatever length it announced; TooManyCalls where there is
    no room for it, before it is read if it announces its length; TooSlow; UnsupportedContent for an encoding that is
    not read; InvalidInput for compressed data that are damaged.
    """
    body = limits.room.body(client_of(request), limits.size_bytes)
    try:
        await _fill(body, request, limits.time_s)
    except BaseException:
        body.let_go()
        raise
    return body


async def _fill(body: Body, request: Request, time_s: float) -> None:
    inflater = _inflater(request)
    body.expect(_announced(request))  # what is compressed is seldom longer than what it inflates to
    try:
        async with asyncio.timeout(time_s):
            async for piece in request.stream():
                if inflater is None:
                    body.append(piece)
                else:
                    await run_in_threadpool(inflate_into, body, inflater, piece)
    except TimeoutError:
        raise TooSlow("body", time_s) from None
    if inflater is not None:
        inflater.finish()


def _announced(request: Request) -> int:
    """How many bytes are to come; 0 where that is not said."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() and len(length) <= _LENGTH_DIGITS else 0


def _inflater(request: Request) -> Inflater | None:
    """What undoes the body's encoding; None where there is none to undo."""
    # Encodings that lie in one another would multiply what a byte can inflate to.
    encoding = ", ".join(request.headers.getlist("content-encoding")).strip().lower() or "identity"
    if encoding == "identity":
        return None
    if encoding not in INFLATERS:
        raise UnsupportedContent("content-encoding", repr(encoding[:80]), f"one of {', '.join(INFLATERS)}, or none")
    return INFLATERS[encoding]()


def inflate_into(body: Body, inflater: Inflater, piece: bytes) -> None:
    """Inflates a piece behind what is there; raises what `Body.append` does. It takes a processor: threads do it."""
    for chunk in inflater.feed(piece):
        body.append(chunk)
