"""What each route asks of a key. A route says so itself, and the application is not built while one does not.

Where it stands: `security.guard` decides; this finds the key in a request's headers. `rpc.access` is its twin.
"""

from collections.abc import Iterable
from typing import Any, Final

from fastapi import Depends, FastAPI, Request
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from segsearch.core.errors import Unauthorised
from segsearch.service.rest.exchange import Exchange, exchange_of
from segsearch.service.security.guard import Guard
from segsearch.service.security.keys import Scope

Headers = Iterable[tuple[bytes, bytes]]  # of an ASGI scope: names in small letters


class Needs:
    """A route's dependency: which scope a key must have; None needs no key."""

    def __init__(self, scope: Scope | None):
        self.scope = scope

    # Not a plain function, which would cost a hop to a worker thread; all it waits for is one stat.
    async def __call__(self, request: Request) -> None:
        """Raises Unauthorised, Forbidden or RateLimited, before anything else of the request is looked at."""
        if self.scope is None:
            return
        guard: Guard = request.app.state.guard
        let_in(guard, exchange_of(request.scope), request.scope["headers"], self.scope)


def let_in(guard: Guard, exchange: Exchange, headers: Headers, scope: Scope) -> None:
    """Lets a request in, or raises Unauthorised, Forbidden or RateLimited; one that was let in is not asked again."""
    exchange.needs = scope
    if exchange.let_in is scope:
        return
    if guard.keys is not None:
        known = guard.identify(key_of(headers))
        exchange.key_id = known.id if known else None
        guard.admit(known, scope)
    exchange.let_in = scope


PUBLIC: Final[Any] = Depends(Needs(None))
READ, WRITE, ADMIN = (Depends(Needs(scope)) for scope in Scope)
# What OpenAPI says of it.
SCHEMES: Final = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def needs_of(route: BaseRoute) -> Needs:
    """What a route asks; raises LookupError if it does not say, or says it twice."""
    found = []
    if isinstance(route, APIRoute):
        found = [sub.call for sub in route.dependant.dependencies if isinstance(sub.call, Needs)]
    if len(found) != 1:
        raise LookupError(f"route {getattr(route, 'path', route)!r} names {len(found)} scopes, wanted one")
    return found[0]


def check_routes(app: FastAPI) -> None:
    """Raises LookupError unless every route says what it asks of a key."""
    for route in app.routes:
        needs_of(route)


def key_of(headers: Headers) -> str | None:
    """The key of a request; raises Unauthorised where there is more than one."""
    keys = []
    for name, value in headers:
        if name == b"x-api-key":
            keys.append(value.decode("latin-1"))
        elif name == b"authorization":
            scheme, _, key = value.decode("latin-1").partition(" ")
            if scheme.lower() != "bearer":
                raise Unauthorised("an authorization that is not Bearer")
            keys.append(key.strip())
    if len(keys) > 1:
        raise Unauthorised(f"{len(keys)} keys")
    return keys[0] if keys else None
