"""Answers searches in the form, the coding and the validator that HTTP asks for.

Where it stands: both ways to `GET /search` end here, the route and the fast path in front of it. `search_text` and
`arrow_stream` write; what is asked is a `SearchQuery`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated, Final

from pydantic import Field
from xxhash import xxh3_64_hexdigest

from segsearch.core.errors import InvalidInput, NotAcceptable
from segsearch.service.index.view import View
from segsearch.service.library import SEARCH_LIMIT, SegmentLibrary
from segsearch.service.page_tokens import PageTokens, question_of
from segsearch.service.pages import MomentPage, Page
from segsearch.service.rest.answer_coding import CODINGS, WORTHWHILE_BYTES, coded_stream
from segsearch.service.rest.arrow_stream import EXTRA, arrow_stream, is_installed
from segsearch.service.rest.edge import QueryModel
from segsearch.service.rest.media_types import best_type
from segsearch.service.rest.search_text import PART_HITS, head_json, search_json, search_lines

JSON: Final = "application/json"
LINES: Final = "application/x-ndjson"
ARROW: Final = "application/vnd.apache.arrow.stream"
FORMS: Final = (JSON, LINES, ARROW)  # the first of those that a client likes alike

QUERY_LIMIT: Final = 1000  # characters
TOKEN_LIMIT: Final = 200
_RELEASE: Final = version("segsearch")  # another one may write the same page otherwise
# A cache may keep an answer for whoever asked, and asks us each time whether it is still right.
_CACHING: Final = ((b"vary", b"Accept, Accept-Encoding"), (b"cache-control", b"private, no-cache"))

Header = tuple[bytes, bytes]


class SearchQuery(QueryModel):
    """What to search for."""

    tag: Annotated[
        str,
        Field(
            min_length=1, max_length=QUERY_LIMIT,
            description="Name in any case, label index or graph id; or several with `and`, `or`, `not`, parentheses.",
        ),
    ]  # fmt: skip
    k: Annotated[int, Field(ge=1, le=SEARCH_LIMIT, description="How many segments, on one page.")] = 100
    min_score: Annotated[float, Field(ge=0, le=1, description="Only segments with at least this probability.")] = 0.0
    per_video: Annotated[int | None, Field(ge=1, description="No more than so many segments of one video.")] = None
    merge: Annotated[bool, Field(description="Adjacent segments of the answer as one moment.")] = False
    page_token: Annotated[
        str,
        Field(max_length=TOKEN_LIMIT, description="`next_page_token` of the page before, for the same query; or none."),
    ] = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers and content, as they are sent."""

    status: int
    headers: tuple[Header, ...]
    content: bytes | Iterator[bytes]
    etag: str


class SearchAnswers:
    """Answers from one library. Methods may be called from any number of threads."""

    def __init__(self, library: SegmentLibrary, tokens: PageTokens):
        self._library, self._tokens = library, tokens

    def answer(self, view: View, query: SearchQuery, form: str, coding: str | None) -> Answer:
        """What the view holds. form: of FORMS; coding: of CODINGS.

        Raises what `SegmentLibrary.search` does, or InvalidPageToken.
        """
        etag = etag_of(view, query, form)
        content, coded = _coded(_written(*self._found(view, query), form), coding)
        headers: list[Header] = [(b"content-type", form.encode()), (b"etag", etag.encode()), *_CACHING, *coded]
        if isinstance(content, bytes):
            headers.append((b"content-length", str(len(content)).encode()))
        return Answer(200, tuple(headers), content, etag)

    def _found(self, view: View, query: SearchQuery) -> tuple[Page | MomentPage, str | None]:
        """A page, and the token of the next one."""
        tag, k, lowest, per_video = query.tag, query.k, query.min_score, query.per_video
        if query.merge:
            if query.page_token:
                raise InvalidInput("query.page_token", "came with merge=true", "one of them: moments have no pages")
            return self._library.moments(tag, k, min_score=lowest, per_video=per_video, view=view), None
        question = question_of(tag, lowest, per_video)
        after = self._tokens.open(query.page_token, question) if query.page_token else None
        page = self._library.search(tag, k, min_score=lowest, per_video=per_video, after=after, view=view)
        return page, self._tokens.seal(page.following, question) if page.following else None


def form_of(accept: str) -> str:
    """The form that a client likes best, given its `Accept`. Raises NotAcceptable."""
    form = best_type(accept, FORMS)
    if form == ARROW and not is_installed():
        form = best_type(accept, (JSON, LINES))
        if form is None:
            missing = f"{ARROW}, for which this server lacks pyarrow"
            raise NotAcceptable("accept", missing, f"`pip install 'segsearch[{EXTRA}]'` there, or {JSON} or {LINES}")
    if form is None:
        raise NotAcceptable("accept", repr(accept[:80]), f"one of {', '.join(FORMS)}")
    return form


def etag_of(view: View, query: SearchQuery, form: str) -> str:
    """The same for the same answer: it tells generation, last change, and what was asked of which release."""
    told = (_RELEASE, form, view.manifest.created_at, view.delta.revision, *query.__dict__.values())
    return f'W/"{view.number}-{view.sequence}-{xxh3_64_hexdigest(repr(told).encode())}"'


def not_modified(if_none_match: str, etag: str) -> Answer | None:
    """The answer to a client that has this one already, if it does; `*` names none of ours."""
    if etag.removeprefix("W/") not in [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]:
        return None
    return Answer(304, ((b"etag", etag.encode()), *_CACHING), b"", etag)


def _written(page: Page | MomentPage, next_page_token: str | None, form: str) -> bytes | Iterator[bytes]:
    if form == ARROW:
        return arrow_stream(page, head_json(page, next_page_token))
    if form == JSON:
        return search_json(page, next_page_token)
    lines = search_lines(page, next_page_token)
    return lines if len(page.codes) > PART_HITS else b"".join(lines)


def _coded(content: bytes | Iterator[bytes], coding: str | None) -> tuple[bytes | Iterator[bytes], tuple[Header, ...]]:
    if coding is None or (isinstance(content, bytes) and len(content) < WORTHWHILE_BYTES):
        return content, ()
    coded = CODINGS[coding](content) if isinstance(content, bytes) else coded_stream(content, coding)
    return coded, ((b"content-encoding", coding.encode()),)
