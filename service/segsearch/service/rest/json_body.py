"""Small JSON bodies, read within limits and checked by a model."""

from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from segsearch.core.errors import InvalidInput, UnsupportedContent
from segsearch.service.rest.request_body import BodyLimits, read_body

LIMITS = BodyLimits(size_bytes=1 << 20, time_s=10)

Content = TypeVar("Content", bound=BaseModel)


async def read_json(request: Request, kind: type[Content]) -> Content:
    """The body as `kind`; raises UnsupportedContent, InvalidInput with field and place, and what `read_body` raises."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedContent("content-type", repr(media_type[:80]), "application/json")
    body = await read_body(request, LIMITS)
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(["body", *map(str, fault["loc"])])
        raise InvalidInput(field, str(fault["type"]), str(fault["msg"])) from None


def described(kind: type[BaseModel]) -> dict[str, Any]:
    """What OpenAPI says of such a body."""
    content = {"application/json": {"schema": kind.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}
