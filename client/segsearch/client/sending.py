"""What every transport shares: where the service is, and one call's attempts until it is settled.

Where it stands: `clients` makes a transport of a service; `rest` and `rpc` make single attempts.
"""

import asyncio
import math
import re
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import urlsplit

from segsearch.client.calls import Answer, Call
from segsearch.client.outcomes import Outcome, settle
from segsearch.client.retries import Retries, Tries
from segsearch.core.errors import ConfigError

SCHEMES: Final = ("http", "https", "grpc", "grpcs")
Piece = TypeVar("Piece")
Verify = bool | Path | ssl.SSLContext


@dataclass(frozen=True, slots=True)
class Service:
    """Where a service is, and how it is asked."""

    url: str
    key: str | None = field(repr=False)
    timeout_s: float  # for a call as a whole: every attempt, and the waits between them
    verify: Verify
    retries: Retries

    def __post_init__(self) -> None:
        """Raises ConfigError."""
        _check_url(self.url)
        if self.key is not None and not re.fullmatch(r"[!-~]+", self.key):
            raise ConfigError("key", "(not shown)", "printable ASCII without blanks")
        if not 0 < self.timeout_s < math.inf:
            raise ConfigError("timeout_s", self.timeout_s, "more than 0, and not for ever")

    @property
    def scheme(self) -> str:
        return urlsplit(self.url).scheme

    def tries(self) -> Tries:
        """The attempts of a call that begins now."""
        return Tries(self.url, self.timeout_s, self.retries)


def _check_url(url: str) -> None:
    wanted = "http://host:port, https://host, grpc://host:port or grpcs://host:port, and no user, query or fragment"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in SCHEMES and parts.hostname and not (parts.query or parts.fragment)
        port = parts.port
    except ValueError as error:
        raise ConfigError("url", url, f"{wanted} ({error})") from None
    if "@" in parts.netloc:
        raise ConfigError("url", f"{parts.scheme}://...@{parts.hostname}", wanted)  # a password may stand there
    if not usable or (parts.scheme.startswith("grpc") and (port is None or parts.path.strip("/"))):
        raise ConfigError("url", url, wanted)


class Transport(Protocol):
    """Sends a call and waits for its answer; any number of threads may."""

    def send(self, call: Call[Answer]) -> Answer: ...

    def close(self) -> None: ...


class AsyncTransport(Protocol):
    """The same on an event loop of asyncio."""

    async def send(self, call: Call[Answer]) -> Answer: ...

    async def close(self) -> None: ...


def sent(call: Call[Answer], tries: Tries, attempt: Callable[[Call[Any], Tries], Outcome]) -> Answer:
    """The answer of the last attempt; raises what `settle` says of it."""
    while True:
        outcome = attempt(call, tries)
        wait_s = tries.wait_s(outcome, call.repeat_after)
        if wait_s is None:
            return settle(call, outcome)
        time.sleep(wait_s)


async def sent_async(
    call: Call[Answer], tries: Tries, attempt: Callable[[Call[Any], Tries], Awaitable[Outcome]]
) -> Answer:
    """The same on an event loop."""
    while True:
        outcome = await attempt(call, tries)
        wait_s = tries.wait_s(outcome, call.repeat_after)
        if wait_s is None:
            return settle(call, outcome)
        await asyncio.sleep(wait_s)


async def later(pieces: Iterator[Piece]) -> AsyncIterator[Piece]:
    """The pieces of an upload; reading them from a disk does not hold up the event loop."""
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece
