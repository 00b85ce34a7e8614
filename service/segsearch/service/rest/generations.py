"""The routes of index generations: which there are, and the way back to one."""

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from segsearch.service.rest.access import ADMIN, READ
from segsearch.service.rest.answers import GenerationAnswer
from segsearch.service.rest.edge import EdgeDep, Nothing, failures

router = APIRouter()


class GenerationsAnswer(BaseModel):
    """The generations of the index."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    serving: Annotated[int, Field(description="The one that answers now.")]
    numbers: Annotated[list[int], Field(description="Those that are there, oldest first.")]


@router.get("/generations", responses=failures(422, 503), dependencies=[READ])
def generations(edge: EdgeDep, _: Nothing) -> GenerationsAnswer:
    """The generations that are there, and the one that answers."""
    serving = edge.library.view().manifest.number
    return GenerationsAnswer(serving=serving, numbers=edge.library.index.numbers())


@router.post("/generations/{number}:activate", responses=failures(404, 409, 422, 503), dependencies=[ADMIN])
def activate(
    edge: EdgeDep, number: Annotated[int, Path(ge=1, le=2**31, description="As /generations lists it.")], _: Nothing
) -> GenerationAnswer:
    """Makes a generation current that is there, once it has been verified; queries switch to it without a pause."""
    return GenerationAnswer.of(edge.library.index.activate(number).manifest)
