"""A request's query parameters where the framework is not asked: as it would read them, or not at all.

Where it stands: for `fast_search` and `fast_score`, which hand on to the framework what this raises for.
"""

from functools import lru_cache
from typing import Final, TypeVar, cast
from urllib.parse import parse_qsl

from segsearch.service.rest.edge import QueryModel

Q = TypeVar("Q", bound=QueryModel)

_KEPT_BYTES: Final = 512  # a longer one is read anew each time: it may be as long as a request's head


def query_of(kind: type[Q], query_string: bytes) -> Q:
    """The parameters; raises ValidationError where they are none, or are put in a way that is left to the framework."""
    read = _kept if len(query_string) <= _KEPT_BYTES else _read
    return cast(Q, read(kind, query_string))


def _read(kind: type[QueryModel], query_string: bytes) -> QueryModel:
    pairs = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)
    given = dict(pairs)
    return kind.model_validate(given if len(given) == len(pairs) else None)


_kept = lru_cache(1024)(_read)
