"""What people call: `Client`, and `AsyncClient` with the same methods to be awaited.

Where it stands: each method names its call of `calls` and has a transport send it; a test holds the two classes to the
same signatures.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import ModuleType, TracebackType
from typing import Self

from segsearch.client import calls
from segsearch.client.answers import (
    Comparison,
    Generation,
    Generations,
    MomentsResult,
    Ready,
    ScoreResult,
    SearchResult,
    SimilarResult,
    Stored,
    Strip,
    TagsResult,
)
from segsearch.client.operation import Job, Model
from segsearch.client.retries import USUAL, Retries
from segsearch.client.sending import AsyncTransport, Service, Transport, Verify
from segsearch.client.uploads import Source, upload_of
from segsearch.core.errors import ConfigError, InvalidInput, MissingExtra

TIMEOUT_S = 60.0
CONCURRENCY_LIMIT = 64  # fewer than the connections that httpx keeps open
Failures = dict[str, InvalidInput]  # by video id: why the service would not have it


class Client:
    """Asks one service. Any number of threads may share one; close it, or use it in a `with`.

    Every call raises the error of `segsearch.core.errors` that the service means, or ServiceRefused where it means none
    of them; ServiceUnreachable; or ServiceTooSlow.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        verify: Verify = True,
        retries: Retries = USUAL,
    ):
        """url: `http://host:port` or `https://host`; `grpc://host:port` or `grpcs://host:port` for gRPC.

        timeout_s: for a call as a whole. verify: a file of certificates to trust, or for HTTP a context of one's own.
        Raises MissingExtra without httpx, ConfigError for an address, key or file that cannot work.
        """
        self._transport = _transport(Service(url, key, timeout_s, verify, retries))

    def search(self, tag: str, k: int = 100, *, min_score: float = 0.0, per_video: int | None = None) -> SearchResult:
        """The k best segments that show a tag, or several joined by `and`, `or`, `not`."""
        return self._transport.send(calls.search(tag, k, min_score, per_video))

    def moments(self, tag: str, k: int = 100, *, min_score: float = 0.0, per_video: int | None = None) -> MomentsResult:
        """The same segments, adjacent ones as one moment; so there are at most k."""
        return self._transport.send(calls.moments(tag, k, min_score, per_video))

    def score(self, source: Source, *, video_id: str | None = None, top: int = 20, index: bool = False) -> ScoreResult:
        """Every segment of a video with its `top` best tags.

        source: frames (T, F) uint8, a `.npy` or `.npz` file, a video, or a `.tfrecord` shard that holds the `video_id`.
        index: also store it, in place of what has its id; it is on disk when the answer comes.
        """
        return self._transport.send(calls.score(source, video_id, top, index))

    def score_many(
        self,
        sources: Iterable[Source],
        *,
        top: int = 20,
        index: bool = False,
        concurrency: int = 4,
        failures: Failures | None = None,
    ) -> Iterator[ScoreResult]:
        """The results of many videos, in order; `concurrency` of them are on their way at a time.

        With `failures`, a video that the service refuses for what it is is noted there and passed over.
        """
        ConfigError.check_range("concurrency", concurrency, 1, CONCURRENCY_LIMIT)
        waiting: deque[tuple[str, Future[ScoreResult]]] = deque()
        with ThreadPoolExecutor(concurrency) as threads:
            try:
                for upload in map(upload_of, sources):
                    waiting.append((upload.name, threads.submit(self.score, upload, top=top, index=index)))
                    if len(waiting) == concurrency:
                        yield from _taken(*waiting.popleft(), failures)
                while waiting:
                    yield from _taken(*waiting.popleft(), failures)
            finally:
                for _, future in waiting:
                    future.cancel()

    def similar(self, video_id: str, start_s: int, k: int = 100) -> SimilarResult:
        """The segments most like one of the library."""
        return self._transport.send(calls.similar(video_id, start_s, k))

    def similar_to(self, source: Source, *, start_s: int | None = None, k: int = 100) -> SimilarResult:
        """The segments most like one of a video that is sent, or like the mean of all its segments."""
        return self._transport.send(calls.similar_to(source, start_s, k))

    def tags(self, prefix: str = "", limit: int = 20) -> TagsResult:
        """Tags with a word that begins with a prefix, with the length of their lists."""
        return self._transport.send(calls.tags(prefix, limit))

    def video(self, video_id: str, tags: Sequence[str]) -> Strip:
        """A video's score for each of the tags, segment by segment."""
        return self._transport.send(calls.video(video_id, tags))

    def delete(self, video_id: str) -> Stored:
        """Takes a video out of the library, for good."""
        return self._transport.send(calls.delete(video_id))

    def generations(self) -> Generations:
        """The generations that are there, and the one that answers."""
        return self._transport.send(calls.generations())

    def compare(self, a: int, b: int, k: int = 1000, *, limit: int = 100) -> Comparison:
        """What became of each tag's best k segments from one generation to another; the `limit` tags changed most."""
        return self._transport.send(calls.compare(a, b, k, limit))

    def activate(self, number: int) -> Generation:
        """Makes a generation current that is there."""
        return self._transport.send(calls.activate(number))

    def model(self) -> Model:
        """The model that scores uploads."""
        return self._transport.send(calls.model())

    def load_model(self, path: str) -> Model:
        """Puts a bundle of the server's folder in the place of the one in use: `<name>/<version>`, or `<name>`."""
        return self._transport.send(calls.load_model(path))

    def reindex(self, shards: Sequence[str], *, bundle: str | None = None, skip_bad: bool = False) -> Job:
        """Starts a job that scores shards of the server's folder, given by patterns, and the uploads there are.

        bundle: of the server's folder; None takes the one in use. skip_bad: passes over records that cannot be read.
        """
        return self._transport.send(calls.reindex(shards, bundle, skip_bad))

    def job(self, job_id: str) -> Job:
        """How a job is."""
        return self._transport.send(calls.job(job_id))

    def cancel_job(self, job_id: str) -> Job:
        """Ends a job that runs; one that has ended stays as it is."""
        return self._transport.send(calls.cancel_job(job_id))

    def ready(self) -> Ready:
        """What is being served."""
        return self._transport.send(calls.ready())

    def close(self) -> None:
        """Ends the connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient:
    """`Client` on an event loop of asyncio."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        verify: Verify = True,
        retries: Retries = USUAL,
    ):
        """As `Client`."""
        self._transport = _async_transport(Service(url, key, timeout_s, verify, retries))

    async def search(
        self, tag: str, k: int = 100, *, min_score: float = 0.0, per_video: int | None = None
    ) -> SearchResult:
        """As `Client.search`."""
        return await self._transport.send(calls.search(tag, k, min_score, per_video))

    async def moments(
        self, tag: str, k: int = 100, *, min_score: float = 0.0, per_video: int | None = None
    ) -> MomentsResult:
        """As `Client.moments`."""
        return await self._transport.send(calls.moments(tag, k, min_score, per_video))

    async def score(
        self, source: Source, *, video_id: str | None = None, top: int = 20, index: bool = False
    ) -> ScoreResult:
        """As `Client.score`."""
        call = await asyncio.to_thread(calls.score, source, video_id, top, index)  # looks into files
        return await self._transport.send(call)

    async def score_many(
        self,
        sources: Iterable[Source],
        *,
        top: int = 20,
        index: bool = False,
        concurrency: int = 4,
        failures: Failures | None = None,
    ) -> AsyncIterator[ScoreResult]:
        """As `Client.score_many`; `sources` are drawn in other threads, one at a time."""
        ConfigError.check_range("concurrency", concurrency, 1, CONCURRENCY_LIMIT)
        uploads = map(upload_of, sources)
        waiting: deque[tuple[str, asyncio.Task[ScoreResult]]] = deque()
        try:
            while True:
                upload = await asyncio.to_thread(next, uploads, None)
                if upload is not None:
                    task = asyncio.create_task(self.score(upload, top=top, index=index))
                    waiting.append((upload.name, task))
                if not waiting:
                    break
                if upload is None or len(waiting) == concurrency:
                    name, task = waiting.popleft()
                    with _noting(name, failures):
                        yield await task
        finally:
            for _, task in waiting:
                task.cancel()
            await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)

    async def similar(self, video_id: str, start_s: int, k: int = 100) -> SimilarResult:
        """As `Client.similar`."""
        return await self._transport.send(calls.similar(video_id, start_s, k))

    async def similar_to(self, source: Source, *, start_s: int | None = None, k: int = 100) -> SimilarResult:
        """As `Client.similar_to`."""
        call = await asyncio.to_thread(calls.similar_to, source, start_s, k)  # looks into files
        return await self._transport.send(call)

    async def tags(self, prefix: str = "", limit: int = 20) -> TagsResult:
        """As `Client.tags`."""
        return await self._transport.send(calls.tags(prefix, limit))

    async def video(self, video_id: str, tags: Sequence[str]) -> Strip:
        """As `Client.video`."""
        return await self._transport.send(calls.video(video_id, tags))

    async def delete(self, video_id: str) -> Stored:
        """As `Client.delete`."""
        return await self._transport.send(calls.delete(video_id))

    async def generations(self) -> Generations:
        """As `Client.generations`."""
        return await self._transport.send(calls.generations())

    async def compare(self, a: int, b: int, k: int = 1000, *, limit: int = 100) -> Comparison:
        """As `Client.compare`."""
        return await self._transport.send(calls.compare(a, b, k, limit))

    async def activate(self, number: int) -> Generation:
        """As `Client.activate`."""
        return await self._transport.send(calls.activate(number))

    async def model(self) -> Model:
        """As `Client.model`."""
        return await self._transport.send(calls.model())

    async def load_model(self, path: str) -> Model:
        """As `Client.load_model`."""
        return await self._transport.send(calls.load_model(path))

    async def reindex(self, shards: Sequence[str], *, bundle: str | None = None, skip_bad: bool = False) -> Job:
        """As `Client.reindex`."""
        return await self._transport.send(calls.reindex(shards, bundle, skip_bad))

    async def job(self, job_id: str) -> Job:
        """As `Client.job`."""
        return await self._transport.send(calls.job(job_id))

    async def cancel_job(self, job_id: str) -> Job:
        """As `Client.cancel_job`."""
        return await self._transport.send(calls.cancel_job(job_id))

    async def ready(self) -> Ready:
        """As `Client.ready`."""
        return await self._transport.send(calls.ready())

    async def close(self) -> None:
        """As `Client.close`."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _transport(service: Service) -> Transport:
    if service.scheme in ("http", "https"):
        rest: Transport = _rest().Rest(service)
        return rest
    from segsearch.client.rpc import Grpc

    return Grpc(service)


def _async_transport(service: Service) -> AsyncTransport:
    if service.scheme in ("http", "https"):
        rest: AsyncTransport = _rest().AsyncRest(service)
        return rest
    from segsearch.client.rpc import AsyncGrpc

    return AsyncGrpc(service)


def _rest() -> ModuleType:
    """What speaks HTTP; raises MissingExtra where httpx is not installed."""
    try:
        from segsearch.client import rest
    except ModuleNotFoundError as error:
        if error.name != "httpx":
            raise
        raise MissingExtra("score | search | similar", "client", "httpx") from None
    return rest


def _taken(name: str, future: Future[ScoreResult], failures: Failures | None) -> Iterator[ScoreResult]:
    """The result that was waited for, unless the video was refused and that is noted."""
    with _noting(name, failures):
        yield future.result()


@contextmanager
def _noting(name: str, failures: Failures | None) -> Iterator[None]:
    """Within it, a refusal of one video goes into `failures`, where there are any."""
    try:
        yield
    except InvalidInput as error:
        if failures is None:
            raise
        failures[name] = error
