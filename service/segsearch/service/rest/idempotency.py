"""`Idempotency-Key`: who repeats a change whose answer was lost gets that answer, and nothing is done again.

Where it stands: the routes that change the library work inside `once`. A process remembers what it answered itself, for
a day at most and as far as room goes, and sees that the first is still under way. What a change came to is noted where
it is stored, by its `name` (`index.live.once`): no restart and no other process does it again.

Each API key has a shelf of its own, so that nobody meets another one's keys or pushes them out.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Header, Request

from segsearch.core.errors import IdempotencyKeyBusy, IdempotencyKeyReused
from segsearch.service.index.live.once import KEPT_S, Name, digest_of
from segsearch.service.rest.exchange import exchange_of

FIELD: Final = "header.Idempotency-Key"
SHELF_BYTES: Final = 4 << 20
RETRY_AFTER_S: Final = 1
_OVERHEAD_BYTES: Final = 512  # of an answer, beside its content

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", min_length=1, max_length=255,
        description="The caller's own name for this change: sent again with it, it is answered and not done again.",
    ),
]  # fmt: skip


@dataclass(slots=True)
class Attempt:
    """One change under a key."""

    request: bytes  # digest of what was asked
    begun_s: float
    content: bytes | None = None  # the answer; None until there is one
    name: Name | None = None  # for the library; None: it has no key

    @property
    def size_bytes(self) -> int:
        return _OVERHEAD_BYTES + len(self.content or b"")


class _Shelf:
    """What one API key has asked for, in order."""

    def __init__(self) -> None:
        self.attempts: OrderedDict[str, Attempt] = OrderedDict()
        self.size_bytes = 0  # of those that are answered


class Remembered:
    """The answers to changes of one process. Methods may be called from any number of threads."""

    def __init__(
        self, keep_s: float = KEPT_S, shelf_bytes: int = SHELF_BYTES, clock: Callable[[], float] = time.monotonic
    ):
        self._keep_s, self._shelf_bytes, self._clock = keep_s, shelf_bytes, clock
        self._lock = threading.Lock()
        self._shelves: dict[str, _Shelf] = {}  # no more of them than API keys were ever in the file

    @contextmanager
    def once(self, owner: str, key: str | None, request: bytes) -> Iterator[Attempt]:
        """The block makes the attempt's content unless it is there, and it is remembered when the block ends well.

        key: None remembers nothing. Raises IdempotencyKeyReused where the key came with another request, or
        IdempotencyKeyBusy while the first one is not done.
        """
        if key is None:
            yield Attempt(request, 0.0)
            return
        attempt, first = self._begin(owner, key, request)
        try:
            yield attempt
        finally:
            if first:
                self._end(owner, key, attempt)

    def _begin(self, owner: str, key: str, request: bytes) -> tuple[Attempt, bool]:
        with self._lock:
            shelf, now_s = self._shelves.setdefault(owner, _Shelf()), self._clock()
            self._let_go(shelf, lambda attempt: attempt.begun_s + self._keep_s <= now_s)
            found = shelf.attempts.get(key)
            if found is None:
                name = Name.of(owner, key, request, FIELD)
                shelf.attempts[key] = found = Attempt(request, now_s, name=name)
                return found, True
            if found.request != request:
                raise IdempotencyKeyReused(FIELD)
            if found.content is None:
                raise IdempotencyKeyBusy(RETRY_AFTER_S)
            return found, False

    def _end(self, owner: str, key: str, attempt: Attempt) -> None:
        """Keeps an answer; what went wrong, or is too large, may be tried again."""
        with self._lock:
            shelf = self._shelves[owner]
            if attempt.content is None or attempt.size_bytes > self._shelf_bytes:
                del shelf.attempts[key]
                return
            shelf.size_bytes += attempt.size_bytes
            self._let_go(shelf, lambda _: shelf.size_bytes > self._shelf_bytes)

    @staticmethod
    def _let_go(shelf: _Shelf, due: Callable[[Attempt], bool]) -> None:
        """Forgets the oldest answers that are due; what is not answered yet stays."""
        gone = []
        for key, attempt in shelf.attempts.items():
            if not due(attempt):
                break
            if attempt.content is not None:
                shelf.size_bytes -= attempt.size_bytes
                gone.append(key)
        for key in gone:
            del shelf.attempts[key]


def request_digest(request: Request, body: bytes = b"") -> bytes:
    """Tells one request from another: what it is for, and its body as it was inflated."""
    told = [request.method, request.url.path, request.url.query, request.headers.get("content-type", "")]
    return digest_of(*(part.encode(errors="surrogatepass") for part in told), body)


def owner_of(request: Request) -> str:
    """Whose keys a request's are: those of its API key, or of everybody where there are none."""
    return exchange_of(request.scope).key_id or ""
