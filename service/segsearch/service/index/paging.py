"""Goes on with a ranking where a page of it ended.

Where it stands: `query` ranks, `library` hands out pages; `page_tokens` makes of a `Bookmark` what a client can keep.

What was uploaded after the first page is left out of the later ones, and what was deleted meanwhile is not in them. So
all pages together are the list of the first one's moment without what went since: nothing comes twice, and no page
holds what another one's moment did not.
"""

from typing import NamedTuple

import numpy as np

from segsearch.core.errors import PageTokenExpired
from segsearch.service.index.expression import Expression
from segsearch.service.index.format import POSTINGS_CAP
from segsearch.service.index.query import ranked
from segsearch.service.index.view import Ranked, View


class Bookmark(NamedTuple):
    """Where a page ends: what it takes to go on in any later view of the same generation, in whatever process."""

    generation: int
    sequence: int  # of the first page
    seen: int  # segments up to here
    code: int  # of the last one, and its rank among equal codes, see `View.ranks`
    upload: int
    row: int

    def check(self, view: View) -> None:
        """Raises PageTokenExpired where the view is of another generation, or of an earlier moment."""
        if (self.generation, True) != (view.number, self.sequence <= view.sequence):
            raise PageTokenExpired(self.generation, self.sequence, view.number, view.sequence)

    def behind(self, view: View, found: Ranked) -> np.ndarray:
        """(n,) int64: which of the segments found come after this one, and were there when the first page was."""
        codes = found.codes.astype(np.int64)
        uploads, rows = view.ranks(found.places)
        among_equals = (uploads > self.upload) | ((uploads == self.upload) & (rows > self.row))
        later = (codes < self.code) | ((codes == self.code) & among_equals)
        return np.flatnonzero(later & (uploads <= self.sequence))


def page_of(
    view: View, asked: Expression, k: int, after: Bookmark | None, *, lowest: int = 0, per_video: int | None = None
) -> tuple[Ranked, Bookmark | None]:
    """The k best segments that come after a bookmark, or the k best, and the bookmark of the next page if there is one.

    All pages together have POSTINGS_CAP segments at most. Raises PageTokenExpired.
    """
    seen = after.seen if after is not None else 0
    k = min(k, POSTINGS_CAP - seen)
    found = _found(view, asked, k + 1, after, lowest=lowest, per_video=per_video)  # one more tells whether to go on
    page = Ranked(found.places[:k], found.codes[:k], len(found.codes) >= k or found.complete)
    # A full page may be followed by none that the kept lists can tell: the next one, empty and incomplete, says so.
    ends = len(page.codes) < k or (len(found.codes) == k and found.complete)
    if ends or seen + k >= POSTINGS_CAP:
        return page, None
    upload, row = view.rank(int(page.places[-1]))
    sequence = after.sequence if after is not None else view.sequence
    return page, Bookmark(view.number, sequence, seen + k, int(page.codes[-1]), upload, row)


def _found(
    view: View, asked: Expression, k: int, after: Bookmark | None, *, lowest: int, per_video: int | None
) -> Ranked:
    if after is None:
        return ranked(view, asked, k, lowest=lowest, per_video=per_video)
    after.check(view)
    reach = after.seen + k
    while True:
        found = ranked(view, asked, reach, lowest=lowest, per_video=per_video)
        behind = after.behind(view, found)[:k]
        if len(behind) == k or len(found.codes) < reach:
            return Ranked(found.places[behind], found.codes[behind], len(behind) == k or found.complete)
        reach *= 2
