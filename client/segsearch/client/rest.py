"""Sends calls over HTTP, sync and async. Only this file knows httpx, and `deadlines` what is below httpx; only a client
that is made loads them.
"""

import asyncio
import ssl
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

from segsearch.client.calls import Answer, Call, Reach
from segsearch.client.deadlines import Deadlines
from segsearch.client.outcomes import Lost, Outcome
from segsearch.client.retries import Tries
from segsearch.client.routes import Request, outcome_of
from segsearch.client.sending import Service, Verify, later, sent, sent_async
from segsearch.core.errors import ConfigError, ServiceUnreachable


class Rest:
    """See Transport."""

    def __init__(self, service: Service):
        self._service, self._http = service, httpx.Client(**_settings(service))
        _keep_deadlines(self._http)

    def send(self, call: Call[Answer]) -> Answer:
        return sent(call, self._service.tries(), self._attempt)

    def _attempt(self, call: Call[Any], tries: Tries) -> Outcome:
        request = Request.of(call)
        body = tries.in_time(call.upload.body()) if call.upload else request.content
        try:
            with self._http.stream(
                request.method, request.path, params=request.query, headers=request.headers, content=body,
                extensions={"timeout": {"pool": tries.left_s, **dict.fromkeys(("connect", "write", "read"), tries)}},
            ) as response:  # fmt: skip
                answer = b"".join(tries.in_time(response.iter_bytes()))
                return outcome_of(response.status_code, response.headers, answer)
        except httpx.HTTPError as error:
            return _lost(error, self._service.url, tries)

    def close(self) -> None:
        self._http.close()


class AsyncRest:
    """See AsyncTransport."""

    def __init__(self, service: Service):
        self._service, self._http = service, httpx.AsyncClient(**_settings(service))

    async def send(self, call: Call[Answer]) -> Answer:
        return await sent_async(call, self._service.tries(), self._attempt)

    async def _attempt(self, call: Call[Any], tries: Tries) -> Outcome:
        request = Request.of(call)
        body = later(call.upload.body()) if call.upload else request.content
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
        await self._http.aclose()


def _settings(service: Service) -> dict[str, Any]:
    """What httpx makes a client of."""
    headers = {"User-Agent": f"segsearch/{version('segsearch')}"}
    if service.key is not None:
        headers["Authorization"] = f"Bearer {service.key}"
    return {"base_url": service.url, "headers": headers, "verify": _trusted(service.verify)}


def _keep_deadlines(http: httpx.Client) -> None:
    """httpx has no word for a backend of one's own, only httpcore has."""
    for transport in (http._transport, *http._mounts.values()):
        if isinstance(transport, httpx.HTTPTransport):
            transport._pool._network_backend = Deadlines()


def _trusted(verify: Verify) -> bool | ssl.SSLContext:
    if not isinstance(verify, Path):
        return verify
    try:
        return ssl.create_default_context(cafile=verify)
    except OSError as error:  # an SSLError is one
        raise ConfigError("verify", str(verify), f"a PEM file of certificates ({error})") from None


def _lost(error: httpx.HTTPError, url: str, tries: Tries) -> Lost:
    if isinstance(error, httpx.TimeoutException):  # each wait may take what is left, so nothing is
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
