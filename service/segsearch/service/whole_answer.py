"""An answer that lies ready whole, as the bytes that HTTP/1.1 wants of it.

Where it stands: `connection` writes them in one piece. h11 looks at each header of an answer again and again, and the
system takes each of its pieces for itself; of a plain answer h11 need know no more than that there is one. Whatever is
not plain is left to it.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import h11
from starlette.types import Message
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES

END: Final = h11.EndOfMessage()
_WITHOUT_CONTENT: Final = frozenset((204, 304))
_FRAMING: Final = (b"\r\nconnection:", b"\r\ntransfer-encoding:")  # what h11 decides, or must hear of


def head_of(start: Message, body: Message, standing: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The head of an answer that is whole with this body, which is all of it; None where it is h11's to write.

    standing: headers of every answer, which come first.
    """
    status, length = start["status"], len(body.get("body", b""))
    headers = [*standing, *start.get("headers", ())]
    if body["type"] != "http.response.body" or body.get("more_body"):
        return None
    if length if status in _WITHOUT_CONTENT else (b"content-length", b"%d" % length) not in headers:
        return None
    lines = b"".join([b"%s: %s\r\n" % header for header in headers])
    head = b"HTTP/1.1 %d %s\r\n%s\r\n" % (status, STATUS_PHRASES[status], lines)
    return head if _is_plain(head, len(headers)) else None


@lru_cache
def begun(status: int) -> h11.Response:
    """What h11 need know of an answer that is written: that there is one."""
    return h11.Response(status_code=status, headers=[(b"content-length", b"0")])


def _is_plain(head: bytes, header_count: int) -> bool:
    """Whether no header holds a line of its own making, and none says how the answer goes over the connection."""
    line_count, small = header_count + 2, head.lower()
    return (
        head.count(b"\r") == head.count(b"\n") == line_count
        and b"\0" not in head
        and small.count(b"\r\ncontent-length:") <= 1
        and not any(name in small for name in _FRAMING)
    )
