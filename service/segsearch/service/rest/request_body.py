"""Reading a request's body, with the limit enforced while it arrives."""

from fastapi import Request

from segsearch.core.errors import InputTooLarge, UnsupportedContent


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The whole body; raises InputTooLarge as soon as it passes the limit, whatever length it announced."""
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise UnsupportedContent("content-encoding", repr(encoding[:80]), "none")
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > limit_bytes:
        raise InputTooLarge("body", f"{announced} bytes", f"at most {limit_bytes}")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit_bytes:
            raise InputTooLarge("body", f"more than {limit_bytes} bytes", f"at most {limit_bytes}")
    return bytes(body)
