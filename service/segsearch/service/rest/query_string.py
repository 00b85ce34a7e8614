"""A request's query parameters where the framework is not asked: as it would read them, or not at all.

Where it stands: for `fast_search` and `fast_score`, which hand on to the framework what this raises for.
"""

from typing import TypeVar
from urllib.parse import parse_qsl

from segsearch.service.rest.edge import QueryModel

Q = TypeVar("Q", bound=QueryModel)


def query_of(kind: type[Q], query_string: bytes) -> Q:
    """The parameters; raises ValidationError where they are none, or are put in a way that is left to the framework."""
    pairs = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)
    given = dict(pairs)
    return kind.model_validate(given if len(given) == len(pairs) else None)
