"""The routes of index generations: which there are, two side by side, and the way back to one."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from segsearch.service.comparison import CHANGES, CHANGES_LIMIT, COMPARED, COMPARED_LIMIT, Comparison, TagChange
from segsearch.service.rest.access import ADMIN, READ
from segsearch.service.rest.answers import GenerationAnswer, TagAnswer
from segsearch.service.rest.edge import EdgeDep, Nothing, QueryModel, failures

router = APIRouter()

Number = Annotated[int, Field(ge=1, le=2**31, description="As `/generations` lists it.")]


class GenerationsAnswer(BaseModel):
    """The generations of the index."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    serving: Annotated[int, Field(description="The one that answers now.")]
    numbers: Annotated[list[int], Field(description="Those that are there, oldest first.")]


class CompareQuery(QueryModel):
    """Which generations to compare, and how far."""

    a: Number
    b: Number
    k: Annotated[int, Field(ge=1, le=COMPARED_LIMIT, description="How much of each tag's list.")] = COMPARED
    limit: Annotated[
        int, Field(ge=0, le=CHANGES_LIMIT, description="How many tags are listed, what changed most first.")
    ] = CHANGES


class TagChangeAnswer(BaseModel):
    """What became of the best k segments of a tag."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tag: TagAnswer
    overlap: Annotated[float, Field(ge=0, le=1, description="Segments of both lists, as a share of the longer one.")]
    gone: Annotated[int, Field(description="Segments that only a's list has.")]
    come: Annotated[int, Field(description="Segments that only b's list has.")]
    median_move: Annotated[float, Field(description="Places between the ranks of a segment that both have.")]
    largest_move: int

    @classmethod
    def of(cls, change: TagChange) -> "TagChangeAnswer":
        return cls(
            tag=TagAnswer.of(change.tag), overlap=change.overlap, gone=change.gone, come=change.come,
            median_move=change.median_move, largest_move=change.largest_move,
        )  # fmt: skip


class ComparisonAnswer(BaseModel):
    """Two generations side by side."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    a: GenerationAnswer
    b: GenerationAnswer
    k: int
    compared: Annotated[int, Field(description="Tags that both have.")]
    only_a: Annotated[int, Field(description="Tags that b lacks.")]
    only_b: Annotated[int, Field(description="Tags that a lacks.")]
    mean_overlap: Annotated[float, Field(ge=0, le=1, description="Of all tags that were compared.")]
    tags: Annotated[list[TagChangeAnswer], Field(description="Those of which least stayed first.")]

    @classmethod
    def of(cls, found: Comparison, limit: int) -> "ComparisonAnswer":
        return cls(
            a=GenerationAnswer.of(found.older), b=GenerationAnswer.of(found.newer), k=found.k,
            compared=len(found.tags), only_a=found.only_older, only_b=found.only_newer,
            mean_overlap=found.mean_overlap, tags=[TagChangeAnswer.of(tag) for tag in found.most_changed(limit)],
        )  # fmt: skip


@router.get("/generations", responses=failures(422, 503), dependencies=[READ])
def generations(edge: EdgeDep, _: Nothing) -> GenerationsAnswer:
    """The generations that are there, and the one that answers."""
    serving = edge.library.view().manifest.number
    return GenerationsAnswer(serving=serving, numbers=edge.library.index.numbers())


@router.get("/generations/compare", responses=failures(404, 409, 422, 503), dependencies=[READ])
def compare(edge: EdgeDep, query: Annotated[CompareQuery, Query()]) -> ComparisonAnswer:
    """What became of each tag's best segments from generation a to generation b. One comparison runs at a time.

    Uploads and deletions since are in neither.
    """
    return ComparisonAnswer.of(edge.library.compare(query.a, query.b, query.k), query.limit)


@router.post("/generations/{number}:activate", responses=failures(404, 409, 422, 503, 507), dependencies=[ADMIN])
def activate(edge: EdgeDep, number: Annotated[Number, Path()], _: Nothing) -> GenerationAnswer:
    """Makes a generation current that is there and goes with the model in use, once it has been verified; queries
    switch to it without a pause.
    """
    return GenerationAnswer.of(edge.library.activate(number))
