"""Answers that need not be made again: of one view, as bytes, by the bytes of the question.

A view never changes, so equal questions to it have equal answers. When another view answers, all are forgotten. The
view may go, and its generation with it, where nobody searches any more.
"""

import threading
from collections.abc import Callable
from typing import Final
from weakref import ref

from segsearch.service.index.view import View

LIMIT_BYTES: Final = 32 << 20


class HotAnswers:
    """Any number of threads may ask."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES):
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._kept: tuple[Callable[[], View | None], dict[bytes, bytes]] = _of_none, {}
        self._size_bytes = 0

    def get(self, view: View, question: bytes) -> bytes | None:
        """What the view answered before; None where it was not asked this."""
        kept_of, answers = self._kept
        return answers.get(question) if kept_of() is view else None

    def put(self, view: View, question: bytes, answer: bytes) -> None:
        """Keeps an answer of the view; when there is no more room, it is the first one again."""
        size_bytes = len(question) + len(answer)
        if size_bytes > self._limit_bytes:
            return
        with self._lock:
            if self._kept[0]() is not view or self._size_bytes + size_bytes > self._limit_bytes:
                self._kept, self._size_bytes = (ref(view), {}), 0
            self._kept[1][question] = answer
            self._size_bytes += size_bytes


def _of_none() -> View | None:
    return None
