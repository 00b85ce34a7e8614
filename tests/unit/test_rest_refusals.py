"""When those are refused who come again and again."""

import asyncio
import weakref

import httpx
import pytest
from fastapi import FastAPI

from segsearch.core.errors import QueueFull
from segsearch.service.refusals import LONGEST_S, PER_S, Refusals
from segsearch.service.rest.exchange import Exchanges
from segsearch.service.rest.metrics import Metrics
from segsearch.service.rest.problems import add_handlers


def test_who_is_refused_now_and_then_does_not_wait():
    refusals = Refusals()
    assert [refusals.next_s(now) for now in (10.0, 11.0, 11.5)] == [10.0, 11.0, 11.5]


def test_those_who_come_together_are_refused_one_by_one():
    refusals = Refusals()
    assert [refusals.next_s(10.0) for _ in range(4)] == pytest.approx([10 + row / PER_S for row in range(4)])


def test_nobody_waits_longer_than_the_limit_and_a_crowd_is_soon_forgotten():
    refusals = Refusals()
    assert max(refusals.next_s(10.0) for _ in range(10_000)) == 10 + LONGEST_S
    assert refusals.next_s(10 + LONGEST_S + 1) == 10 + LONGEST_S + 1


class Body:
    """What a route has read."""


def test_whoever_waits_to_be_refused_keeps_nothing_that_was_read(library):
    app, bodies = FastAPI(), list[weakref.ref[Body]]()
    add_handlers(app)

    @app.post("/")
    async def refuse() -> None:
        body = Body()
        bodies.append(weakref.ref(body))
        raise QueueFull(1, 1, 1)

    async def ask_twice() -> list[int]:
        edge = httpx.ASGITransport(Exchanges(app, Metrics(library), log_requests=False))
        async with httpx.AsyncClient(transport=edge, base_url="http://here") as client:
            asked = [asyncio.create_task(client.post("/")) for _ in range(2)]  # the second waits for its turn
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            assert [body() for body in bodies] == [None, None]
            return [answer.status_code for answer in await asyncio.gather(*asked)]

    assert asyncio.run(ask_twice()) == [503, 503]
