"""Runs the application on a socket: says where it listens, stops when told, lets requests under way finish."""

import asyncio
import gc
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Final, Protocol

import uvicorn
from starlette.types import ASGIApp

from segsearch.core.cli import emit
from segsearch.core.errors import ConfigError
from segsearch.service.connection import Connection
from segsearch.service.open_files import connection_cap, raise_limit
from segsearch.service.settings import Settings

# How long a thread may keep the interpreter's lock that another one waits for: Python's own 5 ms are longer than a
# search takes.
_TURN_S: Final = 0.0005
# Connections that wait to be taken; asyncio takes as many in one go, some times before any can make room.
_BACKLOG: Final = 2048
_CLOSE: Final = (b"connection", b"close")


class Companion(Protocol):
    """A server of the same library on another port: `rpc.server` has it, and its packages need not be loaded here."""

    def bind(self, port: int) -> str:
        """Takes the port and says where it is; raises ConfigError."""

    def start(self) -> None:
        """Answers from now on."""

    def drain(self) -> None:
        """Takes nothing new."""

    def close(self) -> None:
        """Returns when all is answered that was begun."""


class Announce(Protocol):
    """Hears where a server is, as soon as it answers."""

    def __call__(self, url: str, companion: str | None) -> object: ...


def announce(url: str, companion: str | None) -> None:
    """One JSON line on stdout."""
    emit(event="ready", url=url, **({"grpc": companion} if companion else {}))


class _Announcing(uvicorn.Server):
    """Says where it is as soon as connections are accepted; a companion starts and ends with it."""

    def __init__(
        self,
        config: uvicorn.Config,
        settings: Settings,
        drain: Callable[[], None],
        companion: Companion | None,
        ready: Callable[[str], object],
    ):
        super().__init__(config)
        self._settings, self._drain, self._companion, self._ready = settings, drain, companion, ready
        self._ends_s: float | None = None  # once it drains: when it stops

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self.config.is_ssl:
            # uvicorn has no option for it, and a connection is none of ours before: asyncio would wait for a minute.
            loop, limit_s = asyncio.get_running_loop(), Connection.head_timeout_s
            loop.create_server = partial(loop.create_server, ssl_handshake_timeout=limit_s)  # type: ignore[method-assign]
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            scheme = "https" if self.config.is_ssl else "http"
            url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
            if self._companion is not None:
                self._companion.start()
            self._ready(url)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Says that it is not ready; after a first SIGTERM it goes on for a while, so that balancers hear of it."""
        self._drain()
        if sig == signal.SIGTERM and self._ends_s is None and self._settings.drain_s:
            self._ends_s = time.monotonic() + self._settings.drain_s
            self._retire_connections()
        else:
            super().handle_exit(sig, frame)

    def _retire_connections(self) -> None:
        """From now on each answer is the last one on its connection, so that whoever keeps one goes elsewhere."""
        self.config.encoded_headers.append(_CLOSE)  # from which uvicorn makes those of every answer, once a second
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]

    async def on_tick(self, counter: int) -> bool:
        """See uvicorn.Server."""
        if self._ends_s is not None and time.monotonic() >= self._ends_s:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._companion is not None:
            await asyncio.to_thread(self._companion.drain)
        await super().shutdown(sockets)


def serve_until_stopped(
    app: ASGIApp, settings: Settings, drain: Callable[[], None], companion: Companion | None = None,
    ready: Announce = announce, *, shares_port: bool = False,
) -> None:  # fmt: skip
    """Serves until SIGTERM or SIGINT, then calls `drain`, and returns; connections are refused from that moment on, or
    after the time that the settings give.

    shares_port: with other processes that say so, too; the kernel gives each of them its part of the connections.
    Raises ConfigError where the address or the certificates cannot be used.
    """
    context = tls_context(settings)
    listening = bind(settings, shares_port=shares_port)
    # uvicorn raises the signal again when it has shut down; with these in place that ends nothing, and we exit 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stopped)
    with listening:
        address = companion.bind(settings.grpc_port or 0) if companion else None
        try:
            raise_limit()
            config = uvicorn_config(app, settings, context)
            sys.setswitchinterval(_TURN_S)
            # What is there by now stays: passing over it again and again would keep every request waiting.
            gc.collect()
            gc.freeze()
            _Announcing(config, settings, drain, companion, partial(ready, companion=address)).run(sockets=[listening])
        finally:
            if companion is not None:
                companion.close()


def uvicorn_config(
    app: ASGIApp, settings: Settings, context: ssl.SSLContext | None, connection: type[Connection] = Connection
) -> uvicorn.Config:
    """How uvicorn serves the application. A caller's address is where its connection comes from, whatever its headers
    say: whoever is on this machine could else be somebody new with each request.
    """
    return uvicorn.Config(
        app, http=connection, log_config=None, log_level="error", access_log=False, server_header=False, lifespan="off",
        proxy_headers=False, timeout_graceful_shutdown=settings.shutdown_s,
        backlog=max(1, min(_BACKLOG, connection_cap() // 8)),
        ssl_context_factory=(lambda _config, _default: context) if context else None,
    )  # fmt: skip


def _stopped(number: int, frame: FrameType | None) -> None:
    """Nothing is left to do when this is called."""


def bind(settings: Settings, *, shares_port: bool = False) -> socket.socket:
    """A bound socket; raises ConfigError if the address cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where a socket names its protocol; else the second write of an answer
    # waits for the client's acknowledgement of the first, 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shares_port:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        found = f"{settings.host}:{settings.port}"
        raise ConfigError("host and port", found, f"an address that can be bound ({error.strerror})") from None
    return listening


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """What TLS needs, with clients of `tls_client_ca` alone where that is set; None to serve without.

    Raises ConfigError, so that a wrong file is named before anything listens.
    """
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # A password could only be asked of a terminal.
        context.load_cert_chain(settings.tls_certificate, settings.tls_key, password=lambda: "")
    except OSError as error:
        found = f"{settings.tls_certificate}, {settings.tls_key}"
        raise ConfigError("tls_certificate and tls_key", found, f"PEM files that belong together ({error})") from None
    if settings.tls_client_ca:
        try:
            context.load_verify_locations(settings.tls_client_ca)
        except OSError as error:
            raise ConfigError("tls_client_ca", str(settings.tls_client_ca), f"a PEM file ({error})") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context
