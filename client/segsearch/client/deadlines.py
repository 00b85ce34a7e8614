"""Connections of a sync client that end with the call's time, however it was spent.

Where it stands: `rest` puts it under httpx. httpcore looks at a request's timeouts once for each phase, and gives the
same number to every read and write of it; here that number is asked for anew each time. What waits without end all the
same is the look-up of a name, as the system's own does.
"""

import socket
import ssl
from collections.abc import Iterable
from typing import Any, Final

import httpcore

from segsearch.client.retries import Tries

_WRITE_BYTES: Final = 1 << 14  # at once: about what a socket takes in one go, and a record of TLS

Limit = Tries | float | None


class Deadlines(httpcore.SyncBackend):
    """Opens connections to which a request's timeouts may be `Tries`."""

    def connect_tcp(
        self, host: str, port: int, timeout: Limit = None, local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:  # fmt: skip
        """Tries a name's addresses in turn. Raises ConnectError or ConnectTimeout."""
        failed: httpcore.ConnectError | None = None
        for address in _addresses(host, port):
            try:
                stream = super().connect_tcp(address, port, _left_s(timeout), local_address, socket_options)
                return _Timed(stream)
            except httpcore.ConnectError as error:
                failed = error
        raise failed or httpcore.ConnectError(f"no address of {host}")


class _Timed(httpcore.NetworkStream):
    """Another stream, for as long as there is time."""

    def __init__(self, stream: httpcore.NetworkStream):
        self._stream = stream

    def read(self, max_bytes: int, timeout: Limit = None) -> bytes:
        return self._stream.read(max_bytes, _left_s(timeout))

    def write(self, buffer: bytes, timeout: Limit = None) -> None:
        for first in range(0, len(buffer), _WRITE_BYTES):
            self._stream.write(buffer[first : first + _WRITE_BYTES], _left_s(timeout))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: Limit = None
    ) -> httpcore.NetworkStream:
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, _left_s(timeout)))

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left_s(limit: Limit) -> float | None:
    return limit.left_s if isinstance(limit, Tries) else limit


def _addresses(host: str, port: int) -> list[str]:
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from error
