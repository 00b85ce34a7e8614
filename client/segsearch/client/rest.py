"""Sends calls over HTTP, sync and async. Only this file knows httpx, and only a client that is made loads it."""

import asyncio
import math
import re
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

from segsearch.client.calls import Answer, Call, Reach
from segsearch.client.outcomes import Lost, Outcome, settle
from segsearch.client.retries import Retries, Tries
from segsearch.client.routes import Request, outcome_of
from segsearch.core.errors import ConfigError, ServiceUnreachable


@dataclass(frozen=True, slots=True)
class Service:
    """Where a service is, and how it is asked."""

    url: str
    key: str | None = field(repr=False)
    timeout_s: float  # for a call as a whole: every attempt, and the waits between them
    verify: bool | Path | ssl.SSLContext
    retries: Retries

    def __post_init__(self) -> None:
        """Raises ConfigError."""
        try:
            url = httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise ConfigError("url", self.url, f"http://host:port or https://host ({error})") from None
        if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
            raise ConfigError("url", str(url), "http://host:port or https://host, and no user, query or fragment")
        if self.key is not None and not re.fullmatch(r"[!-~]+", self.key):
            raise ConfigError("key", "(not shown)", "printable ASCII without blanks")
        if not 0 < self.timeout_s < math.inf:
            raise ConfigError("timeout_s", self.timeout_s, "more than 0, and not for ever")

    def settings(self) -> dict[str, Any]:
        """What httpx makes a client of."""
        headers = {"User-Agent": f"segsearch/{version('segsearch')}"}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        return {"base_url": self.url, "headers": headers, "verify": self._trusted()}

    def _trusted(self) -> bool | ssl.SSLContext:
        if not isinstance(self.verify, Path):
            return self.verify
        try:
            return ssl.create_default_context(cafile=self.verify)
        except OSError as error:  # an SSLError is one
            raise ConfigError("verify", str(self.verify), f"a PEM file of certificates ({error})") from None

    def tries(self) -> Tries:
        """The attempts of a call that begins now."""
        return Tries(self.url, self.timeout_s, self.retries)


class Rest:
    """Sends a call and waits for its answer; any number of threads may."""

    def __init__(self, service: Service):
        self._service, self._http = service, httpx.Client(**service.settings())

    def send(self, call: Call[Answer]) -> Answer:
        """Raises what `settle` says."""
        tries = self._service.tries()
        while True:
            outcome = self._attempt(call, tries)
            wait_s = tries.wait_s(outcome, call.repeat_after)
            if wait_s is None:
                return settle(call, outcome)
            time.sleep(wait_s)

    def _attempt(self, call: Call[Any], tries: Tries) -> Outcome:
        request = Request.of(call)
        body = tries.in_time(call.upload.body()) if call.upload else None
        try:
            with self._http.stream(
                request.method, request.path, params=request.query, headers=request.headers, content=body,
                timeout=tries.left_s,
            ) as response:  # fmt: skip
                answer = b"".join(tries.in_time(response.iter_bytes()))
                return outcome_of(response.status_code, response.headers, answer)
        except httpx.HTTPError as error:
            return _lost(error, self._service.url, tries)

    def close(self) -> None:
        """Ends the connections."""
        self._http.close()


class AsyncRest:
    """The same on an event loop of asyncio."""

    def __init__(self, service: Service):
        self._service, self._http = service, httpx.AsyncClient(**service.settings())

    async def send(self, call: Call[Answer]) -> Answer:
        """Raises what `settle` says."""
        tries = self._service.tries()
        while True:
            outcome = await self._attempt(call, tries)
            wait_s = tries.wait_s(outcome, call.repeat_after)
            if wait_s is None:
                return settle(call, outcome)
            await asyncio.sleep(wait_s)

    async def _attempt(self, call: Call[Any], tries: Tries) -> Outcome:
        request = Request.of(call)
        body = _later(call.upload.body()) if call.upload else None
        try:
            async with (
                asyncio.timeout(tries.left_s),
                self._http.stream(
                    request.method, request.path, params=request.query, headers=request.headers, content=body,
                    timeout=None,
                ) as response,
            ):  # fmt: skip
                return outcome_of(response.status_code, response.headers, await response.aread())
        except TimeoutError:
            return Lost(tries.late(), None)
        except httpx.HTTPError as error:
            return _lost(error, self._service.url, tries)

    async def close(self) -> None:
        """Ends the connections."""
        await self._http.aclose()


async def _later(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks of a body; reading them from a disk does not hold up the event loop."""
    while chunk := await asyncio.to_thread(next, chunks, b""):
        yield chunk


def _lost(error: httpx.HTTPError, url: str, tries: Tries) -> Lost:
    if isinstance(error, httpx.TimeoutException):  # each may take what is left of the call's time, so all of it is gone
        return Lost(tries.late(), None)
    return Lost(ServiceUnreachable(url, str(error) or type(error).__name__), _reach(error))


def _reach(error: httpx.HTTPError) -> Reach | None:
    if isinstance(error, httpx.ConnectError):
        return None if _is_about_trust(error) else Reach.NOWHERE
    return Reach.UNKNOWN if isinstance(error, (httpx.NetworkError, httpx.RemoteProtocolError)) else None


def _is_about_trust(error: BaseException | None) -> bool:
    """Whether a connection failed over its certificates, which will be the same the next time."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__  # httpcore cuts the first off
    return error is not None
