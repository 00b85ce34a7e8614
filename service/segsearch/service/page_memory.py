"""Remembers pages for as long as they are right and room lasts: many ask for the same tags.

Where it stands: `library` asks it before it searches. A page is of one view, and a view never changes, so that what is
remembered of it stays exact; with an upload or another generation comes another view, and all is forgotten.
"""

from collections import OrderedDict
from threading import Lock
from typing import Final, NamedTuple
from weakref import ref

from segsearch.service.index.paging import Bookmark
from segsearch.service.index.view import View
from segsearch.service.pages import Page

ROOM_HITS: Final = 1_000_000  # of all pages together; one takes some 16 bytes, as ids are shared with the generation
_OVERHEAD_HITS: Final = 64  # of a page, so that many empty ones are bounded, too


class Asked(NamedTuple):
    """What a page answers."""

    tag: str
    k: int
    min_score: float
    per_video: int | None
    after: Bookmark | None


class PageMemory:
    """Pages of the view that was asked about last; those not asked for longest leave first. Threads share one.

    Without room it remembers nothing.
    """

    def __init__(self, room_hits: int = ROOM_HITS):
        self._room_hits, self._hits = room_hits, 0
        self._lock = Lock()
        self._view: ref[View] | None = None  # it may go, and its generation with it, where nobody searches any more
        self._pages: OrderedDict[Asked, Page] = OrderedDict()

    def get(self, view: View, asked: Asked) -> Page | None:
        """The page of this view that answers, if it is remembered."""
        if not self._room_hits:
            return None
        with self._lock:
            if not self._is_of(view):
                self._pages.clear()
                self._view, self._hits = ref(view), 0
                return None
            page = self._pages.get(asked)
            if page is not None:
                self._pages.move_to_end(asked)
            return page

    def put(self, view: View, asked: Asked, page: Page) -> None:
        """Remembers a page, if it is of the view that was asked about last."""
        if not self._room_hits:
            return
        with self._lock:
            if not self._is_of(view) or asked in self._pages:
                return
            self._pages[asked] = page
            self._hits += _hits(page)
            while self._hits > self._room_hits:
                self._hits -= _hits(self._pages.popitem(last=False)[1])

    def _is_of(self, view: View) -> bool:
        return self._view is not None and self._view() is view


def _hits(page: Page) -> int:
    return _OVERHEAD_HITS + len(page.video_ids)
