"""Small JSON bodies, read within limits and checked by a model."""

from dataclasses import replace
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from segsearch.core.errors import InvalidInput, UnsupportedContent
from segsearch.service.rest.edge import edge_of
from segsearch.service.rest.request_body import body_of

LIMIT_BYTES = 1 << 20
TIME_S = 10

Content = TypeVar("Content", bound=BaseModel)


async def read_json(request: Request, kind: type[Content]) -> Content:
    """The body as `kind`; raises UnsupportedContent, InvalidInput with field and place, and what `body_of` raises."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedContent("content-type", repr(media_type[:80]), "application/json")
    limits = replace(edge_of(request).body_limits, size_bytes=LIMIT_BYTES, time_s=TIME_S)
    try:
        with await body_of(request, limits) as body:
            return kind.model_validate_json(body.content)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(["body", *map(str, fault["loc"])])
        raise InvalidInput(field, str(fault["type"]), str(fault["msg"])) from None


def described(kind: type[BaseModel]) -> dict[str, Any]:
    """What OpenAPI says of such a body."""
    content = {"application/json": {"schema": kind.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}
