"""Refuses what another web site has a browser ask: a browser reaches servers of its own machine, too, and whoever is
asked without keys would do it.

Where it stands: inside `exchange`, which counts and logs what is refused here; before all else. Programs that are no
browsers send no `Origin`, and a `Host` that leads to the server.
"""

import re
from collections.abc import Awaitable
from functools import lru_cache
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from segsearch.core.errors import CrossSite
from segsearch.service.rest.access import Headers
from segsearch.service.rest.problems import on_segsearch_error

# They change nothing, and other sites do not get to read their answers.
_SAFE: Final = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
_OWN: Final = frozenset((None, b"same-origin", b"none"))  # `Sec-Fetch-Site` of a page of ours, or of whoever typed it
_LOOPBACK: Final = re.compile(rb"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?", re.IGNORECASE)


class SameSite:
    """The layer in front of `app`."""

    def __init__(self, app: ASGIApp, *, loopback_only: bool):
        """loopback_only: whether only names of this machine lead here. A site whose own name is made to lead here (DNS
        rebinding) is the same site to a browser, and reads answers, too.
        """
        self._app, self._loopback_only = app, loopback_only

    # Not a coroutine of its own, which every search would pay for.
    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """See ASGI."""
        if scope["type"] == "http" and (self._loopback_only or scope["method"] not in _SAFE):
            error = self._fault(scope["method"], scope["headers"])
            if error is not None:
                return on_segsearch_error(Request(scope), error)(scope, receive, send)
        return self._app(scope, receive, send)

    def _fault(self, method: str, headers: Headers) -> CrossSite | None:
        host = _value(headers, b"host")
        if self._loopback_only and host is not None and not _is_loopback(host):
            return CrossSite(f"Host: {_shown(host)}", "localhost, 127.0.0.1 or [::1], as there are no keys")
        if method in _SAFE:
            return None
        origin, site = _value(headers, b"origin"), _value(headers, b"sec-fetch-site")
        if origin is not None and (host is None or origin.partition(b"://")[2].lower() != host.lower()):
            return CrossSite(f"Origin: {_shown(origin)}", f"that of the server, {_shown(host or b'')}, or none")
        if site not in _OWN:
            return CrossSite(f"Sec-Fetch-Site: {_shown(site or b'')}", "same-origin, or none")
        return None


def _value(headers: Headers, wanted: bytes) -> bytes | None:
    """A header that a browser sends once."""
    for name, value in headers:
        if name == wanted:
            return value
    return None


@lru_cache(64)
def _is_loopback(host: bytes) -> bool:
    return _LOOPBACK.fullmatch(host) is not None


def _shown(value: bytes) -> str:
    return value[:80].decode("latin-1")
