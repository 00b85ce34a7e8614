"""Runs the application on a socket: says where it listens, stops when told, lets requests under way finish."""

import signal
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from segsearch.core.cli import emit
from segsearch.core.errors import ConfigError
from segsearch.service.settings import Settings


class _Announcing(uvicorn.Server):
    """Prints one JSON line with the URL as soon as connections are accepted."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            emit(event="ready", url=f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")


def serve_until_stopped(app: FastAPI, settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, then returns; connections are refused from that moment on."""
    listening = bind(settings)
    # uvicorn raises the signal again when it has shut down; with these in place that ends nothing, and we exit 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stopped)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, lifespan="off",
        timeout_graceful_shutdown=settings.shutdown_s,
    )  # fmt: skip
    with listening:
        _Announcing(config).run(sockets=[listening])


def _stopped(number: int, frame: FrameType | None) -> None:
    """Nothing is left to do when this is called."""


def bind(settings: Settings) -> socket.socket:
    """A bound socket; raises ConfigError if the address cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        found = f"{settings.host}:{settings.port}"
        raise ConfigError("host and port", found, f"an address that can be bound ({error.strerror})") from None
    return listening
