"""Requests to an application without a socket between: status, headers and content as the application gives them."""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from starlette.types import ASGIApp, Message


class Told(NamedTuple):
    """One answer."""

    status: int
    headers: dict[str, str]  # but for the request's id, which is another each time
    content: bytes


def ask(
    runner: asyncio.Runner, app: ASGIApp, path: str, query: bytes = b"", headers: Mapping[str, str] | None = None,
    method: str = "GET", body: bytes = b"",
) -> Told:  # fmt: skip
    """The answer to one request."""
    return runner.run(answered(app, path, query, headers, method, body))


async def answered(
    app: ASGIApp, path: str, query: bytes = b"", headers: Mapping[str, str] | None = None, method: str = "GET",
    body: bytes = b"",
) -> Told:  # fmt: skip
    """See `ask`; for an event loop that runs."""
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": path, "raw_path": path.encode(), "root_path": "", "query_string": query,
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "state": {},
    }  # fmt: skip
    sent: list[Message] = []
    taken = False

    async def receive() -> Message:
        nonlocal taken
        if sent and not sent[-1].get("more_body", True):
            return {"type": "http.disconnect"}
        await asyncio.sleep(3600 if taken else 0)
        taken = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append({"more_body": False, **message} if message["type"] == "http.response.body" else message)

    await app(scope, receive, send)
    start, *bodies = sent
    told = {name.decode().lower(): value.decode("latin-1") for name, value in start["headers"]}
    assert len(told) == len(start["headers"])
    del told["x-request-id"]
    return Told(start["status"], told, b"".join(body.get("body", b"") for body in bodies))
