"""The routes of jobs: a reindex in a process of its own, and how it is."""

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field
from starlette.convertors import Convertor, register_url_convertor

from segsearch.service.bounded import asked_for
from segsearch.service.jobs.reindex_process import Job, State, Wish
from segsearch.service.rest.access import ADMIN, READ
from segsearch.service.rest.edge import EdgeDep, Nothing, failures
from segsearch.service.rest.exchange import exchange_of
from segsearch.service.rest.json_body import described, read_json

router = APIRouter()


class _JobId(Convertor[str]):
    """The id in a path: what stands behind a colon is none of it, but what is to be done."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("job", _JobId())

JobId = Annotated[str, Path(max_length=100, description="As `POST /reindex` gives it.")]
Pattern = Annotated[str, Field(min_length=1, max_length=1000)]
OnError = Literal["stop", "skip"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ReindexBody(_Model):
    """What to reindex."""

    shards: Annotated[
        list[Pattern],
        Field(
            min_length=1, max_length=100, examples=[["test*.tfrecord"]],
            description="Patterns of TFRecord files below the server's folder of shards; each must match some.",
        ),
    ]  # fmt: skip
    bundle: Annotated[
        str | None,
        Field(
            min_length=1, max_length=1000, examples=["dbof/3"],
            description="Below the server's folder of bundles; none takes the one in use.",
        ),
    ] = None  # fmt: skip
    on_error: Annotated[OnError, Field(description="What to do at a record that cannot be read.")] = "stop"


class ProgressAnswer(_Model):
    """How far a job is."""

    doing: Annotated[str, Field(examples=["reindex"])]
    done: int
    total: int
    unit: Annotated[str, Field(examples=["videos"])]
    left_s: Annotated[int | None, Field(description="Seconds, as its rate so far foretells.")]


class ReindexedAnswer(_Model):
    """What a reindex made."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    generation: int
    videos: int
    segments: int
    skipped: Annotated[int, Field(description="Records that could not be read.")]
    resumed_shards: Annotated[int, Field(description="That an earlier job had finished.")]
    seconds: float


class JobAnswer(_Model):
    """A job."""

    job: str
    state: State
    created_at: str
    shards: list[str]
    bundle: Annotated[str | None, Field(description="None: the one that was in use.")]
    progress: Annotated[ProgressAnswer | None, Field(description="As it said last, some seconds ago at most.")]
    result: ReindexedAnswer | None
    error: Annotated[str | None, Field(description="Why it failed.")]

    @classmethod
    def of(cls, job: Job) -> "JobAnswer":
        return cls(
            job=job.id, state=job.state, created_at=job.created_at, shards=list(job.wish.shards),
            bundle=job.wish.bundle, progress=ProgressAnswer(**asdict(job.progress)) if job.progress else None,
            result=ReindexedAnswer(**job.result) if job.result else None, error=job.error,
        )  # fmt: skip


@router.post(
    "/reindex", status_code=202, responses=failures(408, 409, 413, 415, 422, 503, 507),
    openapi_extra=described(ReindexBody), dependencies=[ADMIN],
)  # fmt: skip
async def reindex(request: Request, response: Response, edge: EdgeDep, _: Nothing) -> JobAnswer:
    """Scores shards and the uploads there are with a bundle, and publishes a generation. One runs at a time.

    It goes on where one that was killed or cancelled stopped.
    """
    jobs = edge.library.jobs
    asked = await read_json(request, ReindexBody)
    wish = Wish(tuple(asked.shards), asked.bundle, skip_bad=asked.on_error == "skip")
    exchange_of(request.scope).asked = asked_for(**asdict(wish))
    job = await run_in_threadpool(jobs.start, wish, edge.library.scorer.bundle)
    response.headers["location"] = f"/jobs/{job.id}"
    return JobAnswer.of(job)


@router.get("/jobs/{job_id:job}", responses=failures(404, 409, 422), dependencies=[READ])
def job(edge: EdgeDep, job_id: JobId, _: Nothing) -> JobAnswer:
    """How a job is, also one that another server started, or that this one did before it was started anew."""
    return JobAnswer.of(edge.library.jobs.job(job_id))


@router.post("/jobs/{job_id:job}:cancel", responses=failures(404, 409, 422), dependencies=[ADMIN])
def cancel(edge: EdgeDep, job_id: JobId, _: Nothing) -> JobAnswer:
    """Ends a job that runs; one that has ended stays as it is."""
    return JobAnswer.of(edge.library.jobs.cancel(job_id))
