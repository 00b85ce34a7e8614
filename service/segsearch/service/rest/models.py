"""The routes of the model: which bundle scores uploads, and another one in its place."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from segsearch.service.bounded import asked_for
from segsearch.service.library import SegmentLibrary
from segsearch.service.rest.access import ADMIN, READ
from segsearch.service.rest.answers import BundleAnswer
from segsearch.service.rest.edge import EdgeDep, Nothing, failures
from segsearch.service.rest.exchange import exchange_of
from segsearch.service.rest.json_body import described, read_json

router = APIRouter()


class RefusedLoadAnswer(BaseModel):
    """A load that was refused: the bundle in use stayed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Annotated[str, Field(description="As it was asked for.", examples=["dbof/3"])]
    reason: str
    at: Annotated[str, Field(description="ISO 8601, UTC.", examples=["2026-11-28T08:15:00+00:00"])]


class ModelAnswer(BaseModel):
    """The model that scores uploads."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bundle: BundleAnswer
    provider: Annotated[str, Field(description="The ONNX Runtime provider that really runs.")]
    precision: Annotated[str, Field(description="Which of the bundle's models.", examples=["float32"])]
    refused_load: Annotated[
        RefusedLoadAnswer | None, Field(description="The last load, where it was refused; null once one has succeeded.")
    ]

    @classmethod
    def of(cls, library: SegmentLibrary) -> "ModelAnswer":
        scorer, refused = library.scorer, library.refused_load
        return cls(
            bundle=BundleAnswer.of(scorer.bundle), provider=scorer.provider,
            precision=getattr(scorer, "precision", "float32"),
            refused_load=RefusedLoadAnswer(**asdict(refused)) if refused else None,
        )  # fmt: skip


class LoadBody(BaseModel):
    """Which bundle to load."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Annotated[
        str,
        Field(
            min_length=1, max_length=1000, examples=["dbof/3"],
            description="<name>/<version>, or <name> for its highest version, below the server's folder of bundles.",
        ),
    ]  # fmt: skip


@router.get("/models", responses=failures(422), dependencies=[READ])
def models(edge: EdgeDep, _: Nothing) -> ModelAnswer:
    """The bundle that scores uploads. What was scored before may be another's: each generation names its own."""
    return ModelAnswer.of(edge.library)


@router.post(
    "/models:load", responses=failures(408, 409, 413, 415, 422, 503), openapi_extra=described(LoadBody),
    dependencies=[ADMIN],
)  # fmt: skip
async def load(request: Request, edge: EdgeDep, _: Nothing) -> ModelAnswer:
    """Puts a bundle in the place of the one in use, once it has proved itself; whatever goes wrong, that one stays.

    Uploads under way end on the model they began on. The index keeps the scores it has until it is reindexed.
    """
    edge.library.check_loads()
    asked = await read_json(request, LoadBody)
    exchange_of(request.scope).asked = asked_for(path=asked.path)
    await run_in_threadpool(edge.library.load, asked.path)
    return await run_in_threadpool(ModelAnswer.of, edge.library)
