"""What the routes share: what they answer from, and how they take queries and announce failures."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ParamSpec, TypeVar

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict

from segsearch.service.library import SegmentLibrary
from segsearch.service.rest.answers import TagTexts
from segsearch.service.rest.idempotency import Remembered
from segsearch.service.rest.metrics import Metrics
from segsearch.service.rest.problems import MEDIA_TYPE
from segsearch.service.rest.request_body import BodyLimits
from segsearch.service.uploads.reader import UploadReader

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Edge:
    """The library, and what is fixed for as long as the server runs: every bundle it takes has the same classes."""

    library: SegmentLibrary
    reader: UploadReader
    tag_texts: TagTexts
    body_limits: BodyLimits
    metrics: Metrics
    remembered: Remembered
    score_threads: ThreadPoolExecutor  # for the work around scoring: as many at a time, and behind every search

    async def in_thread(self, work: Callable[P, R], *given: P.args, **named: P.kwargs) -> R:
        """Does a part of a `POST /score` on one of its threads."""
        call = partial(copy_context().run, partial(work, *given, **named))
        return await asyncio.get_running_loop().run_in_executor(self.score_threads, call)


def edge_of(request: Request) -> Edge:
    """The edge of the application that a request came to."""
    edge: Edge = request.app.state.edge
    return edge


# Not a plain function, which would cost a hop to a worker thread.
async def _edge(request: Request) -> Edge:
    return edge_of(request)


EdgeDep = Annotated[Edge, Depends(_edge)]


class QueryModel(BaseModel):
    """Query parameters; one that is not listed is refused, as whoever sends it expects something of it."""

    model_config = ConfigDict(extra="forbid")


class NoQuery(QueryModel):
    """A route without parameters."""


Nothing = Annotated[NoQuery, Query()]


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI of a route's problem documents."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": "Problem", "content": content} for status in statuses}
