"""What the bodies of requests under way may take in memory together: a client's no more than is left free for others'.

Where it stands: `request_body` fills a body, which asks for room by the length that is announced, and else as it grows;
a route lets go of it once its frames wait to be scored, where the queue has a limit of its own.
"""

import io
import threading

from segsearch.core.errors import InputTooLarge, TooManyCalls
from segsearch.service.fair_share import FairShare


class BodyRoom:
    """The room of one process. Methods may be called from any number of threads."""

    def __init__(self, limit_bytes: int):
        self._share, self._lock = FairShare(limit_bytes), threading.Lock()
        self._taken: dict[Body, int] = {}  # bytes, by body under way

    def body(self, client: str, limit_bytes: int) -> "Body":
        """An empty body of a client's, which may grow so far."""
        body = Body(self, client, limit_bytes)
        with self._lock:
            self._taken[body] = 0
        return body

    def take(self, body: "Body", size_bytes: int) -> None:
        """Gives a body room for so many bytes in all, if it has less; raises TooManyCalls where its client has none."""
        with self._lock:
            has = self._taken[body]  # KeyError: a thread inflates what was let go
            if size_bytes <= has:
                return
            self._share.give_back(body.client, has)  # one that grows is let in like one that was announced
            fits = self._share.has_room(body.client, size_bytes)
            self._taken[body] = size_bytes if fits else has
            self._share.take(body.client, self._taken[body])
            if not fits:
                raise TooManyCalls(len(self._taken) - 1)

    def give_back(self, body: "Body") -> None:
        """All that a body has taken. More than once does nothing."""
        with self._lock:
            self._share.give_back(body.client, self._taken.pop(body, 0))


class Body:
    """The body of one request, inflated. Whoever leaves its block lets go of it."""

    def __init__(self, room: BodyRoom, client: str, limit_bytes: int):
        self.client = client
        self._room, self._limit_bytes = room, limit_bytes
        self._buffer = io.BytesIO()  # gives its bytes away without a copy

    @property
    def content(self) -> bytes:
        """What there is of it."""
        return self._buffer.getvalue()

    def expect(self, size_bytes: int) -> None:
        """Has room for so many bytes in all; raises InputTooLarge or TooManyCalls."""
        if size_bytes > self._limit_bytes:
            raise InputTooLarge("body", f"{size_bytes} bytes", f"at most {self._limit_bytes}")
        self._room.take(self, size_bytes)

    def append(self, piece: bytes) -> None:
        """Grows by a piece; raises InputTooLarge or TooManyCalls."""
        self.expect(self._buffer.tell() + len(piece))
        self._buffer.write(piece)

    def let_go(self) -> None:
        """Forgets the content, and gives its room back."""
        self._buffer = io.BytesIO()
        self._room.give_back(self)

    def __enter__(self) -> "Body":
        return self

    def __exit__(self, *error: object) -> None:
        self.let_go()
