"""Who asks for scores, and waiting for them without a thread: the event loop waits, and lets go when the client does.

Where it stands: the route of `POST /score` is here between its two visits to a worker thread.
"""

import asyncio
from concurrent.futures import Future
from typing import Any, Final

from fastapi import Depends, Request
from starlette.requests import ClientDisconnect

from segsearch.service.rest.edge import edge_of
from segsearch.service.rest.exchange import client_of
from segsearch.service.scoring.scorer import Caller, Scores


def caller_of(request: Request) -> Caller:
    """Whose turn a request takes."""
    return Caller(client_of(request))


def check_room(request: Request) -> None:
    """Raises QueueFull where a video of this caller's would find no room now."""
    edge_of(request).library.check_room(caller_of(request))


# Not a plain function, which would cost a hop to a worker thread.
async def _room(request: Request) -> None:
    check_room(request)


# A route's dependency: whoever is refused anyway need not send a body, and nothing else of the request is looked at.
ROOM: Final[Any] = Depends(_room)


async def until_scored(request: Request, scores: Future[Scores]) -> None:
    """Returns once there are scores, or what went wrong. The request's body must have been read.

    Raises ClientDisconnect if the client leaves before that; its video has then left the queue.
    """
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    scores.add_done_callback(lambda _: loop.call_soon_threadsafe(over.set))
    leaving = asyncio.ensure_future(_leaves(request))
    leaving.add_done_callback(lambda _: over.set())
    try:
        await over.wait()
    finally:
        left = scores.cancel()  # does nothing where they are there
        leaving.cancel()
    if left:
        raise ClientDisconnect


async def _leaves(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
