"""Keeps answers for as long as they are right and room lasts.

Where it stands: the fast path alone asks it, on the event loop: nothing here is made for several threads.
"""

from collections import OrderedDict
from typing import Final
from weakref import ref

from segsearch.service.index.view import View
from segsearch.service.rest.search_answers import Answer

OVERHEAD_BYTES: Final = 1024  # of an entry, beside its content and the query
_LARGEST_SHARE: Final = 16  # an answer may take so small a part of the room, and is not kept if it is larger

Asked = tuple[bytes, str | None]  # query string and coding


class AnswerCache:
    """Answers from one view by what was asked; those that were not asked for longest leave first."""

    def __init__(self, limit_bytes: int):
        self._limit_bytes, self._size_bytes = limit_bytes, 0
        self._view: ref[View] | None = None  # it may go, and its generation with it, where nobody searches any more
        self._answers: OrderedDict[Asked, Answer] = OrderedDict()

    def get(self, view: View, asked: Asked) -> Answer | None:
        """The answer from this view; a view other than before makes all that was kept worthless."""
        if not self._is_of(view):
            self._answers.clear()
            self._view, self._size_bytes = ref(view), 0
            return None
        answer = self._answers.get(asked)
        if answer is not None:
            self._answers.move_to_end(asked)
        return answer

    def put(self, view: View, asked: Asked, answer: Answer) -> None:
        """Keeps an answer if it is of the view that was asked about last, and not too large."""
        size_bytes = _size_bytes(asked, answer)
        if not self._is_of(view) or asked in self._answers or size_bytes * _LARGEST_SHARE > self._limit_bytes:
            return
        self._answers[asked] = answer
        self._size_bytes += size_bytes
        while self._size_bytes > self._limit_bytes:
            self._size_bytes -= _size_bytes(*self._answers.popitem(last=False))

    def _is_of(self, view: View) -> bool:
        return self._view is not None and self._view() is view


def _size_bytes(asked: Asked, answer: Answer) -> int:
    return OVERHEAD_BYTES + len(asked[0]) + (len(answer.content) if isinstance(answer.content, bytes) else 0)
