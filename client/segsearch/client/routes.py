"""Calls as HTTP requests, and HTTP answers as outcomes. Pure: `rest` does the sending.

Where it stands: the client's side of `service.rest`, whose routes and problem documents (RFC 9457) these are.
"""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote

from segsearch.client.calls import Call, Reach
from segsearch.client.outcomes import Lost, Outcome, Refused, Told
from segsearch.core.errors import ServiceRefused

ROUTES: Final = {
    "search": ("GET", "/search"),
    "score": ("POST", "/score"),
    "similar": ("POST", "/similar"),
    "similar_to": ("POST", "/similar"),
    "tags": ("GET", "/tags"),
    "video": ("GET", "/videos/{video_id}"),
    "delete": ("DELETE", "/videos/{video_id}"),
    "generations": ("GET", "/generations"),
    "compare": ("GET", "/generations/compare"),
    "activate": ("POST", "/generations/{number}:activate"),
    "model": ("GET", "/models"),
    "load_model": ("POST", "/models:load"),
    "reindex": ("POST", "/reindex"),
    "job": ("GET", "/jobs/{job_id}"),
    "cancel_job": ("POST", "/jobs/{job_id}:cancel"),
    "ready": ("GET", "/readyz"),
}
_TOLD_IN_BODY: Final = {"similar", "load_model", "reindex"}
_OK, _CONFLICT, _TOO_MANY, _UNAVAILABLE = range(200, 300), 409, 429, 503
_PROBLEM: Final = "application/problem+json"
_MEMBERS: Final = {"type", "title", "status", "detail", "instance"}  # of every problem document; others are its own
_QUOTED: Final = 200  # characters of an answer that is none of the service's
_SECONDS: Final = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Request:
    """A call over HTTP, but for its upload."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    content: bytes | None = None

    @classmethod
    def of(cls, call: Call[Any]) -> "Request":
        method, template = ROUTES[call.name]
        if call.name in _TOLD_IN_BODY:
            content = json.dumps(dict(call.asked)).encode()
            return cls(method, template, (), {"Content-Type": "application/json"}, content)
        in_path = set(re.findall(r"{(\w+)}", template))
        path = template.format(**{name: _path_part(call.asked[name]) for name in in_path})
        query = [(name, text) for name, value in call.asked.items() if name not in in_path for text in _texts(value)]
        return cls(method, path, tuple(query), _headers(call))


def _path_part(value: Any) -> str:
    # Dots, too: a part of them alone would be taken for the way up.
    return quote(str(value), safe="").replace(".", "%2E")


def _texts(value: Any) -> list[str]:
    """How often a parameter is given, and as what."""
    if value is None:
        return []
    if isinstance(value, tuple):
        return list(value)
    return [str(value).lower() if isinstance(value, bool) else str(value)]


def _headers(call: Call[Any]) -> dict[str, str]:
    headers = {} if call.key is None else {"Idempotency-Key": call.key}
    if call.upload is not None:
        headers |= {"Content-Type": call.upload.content_type, "Content-Length": str(call.upload.size_bytes)}
    return headers


def outcome_of(status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
    """What an answer comes to. headers: by names in small letters, or in any case."""
    request_id = headers.get("x-request-id")
    if status in _OK:
        try:
            return Told(json.loads(body), status, request_id)
        except (ValueError, RecursionError) as error:
            return Lost(ServiceRefused(status, "unreadable", f"{error}; wanted JSON", request_id), None)
    told = _problem(headers.get("content-type", ""), body)
    after_s = _seconds_until(headers.get("retry-after", ""))
    # Only what is unavailable is worth another try (AIP-194); what was too often, or is under way by the same key, once
    # it is said when to come back.
    again = status == _UNAVAILABLE or (status in (_TOO_MANY, _CONFLICT) and after_s is not None)
    return Refused(
        status, str(told["type"]).removeprefix("/problems/"), str(told["detail"]),
        {name: fact for name, fact in told.items() if name not in _MEMBERS},
        request_id, after_s, Reach.REFUSED if again else None,
    )  # fmt: skip


def _problem(content_type: str, body: bytes) -> dict[str, Any]:
    """The problem document of an answer, or one that stands for an answer without any."""
    if content_type.partition(";")[0].strip() == _PROBLEM:
        try:
            told = json.loads(body)
        except (ValueError, RecursionError):
            told = None
        if isinstance(told, dict) and {"type", "detail"} <= told.keys():
            return told
    return {"type": "no-problem-document", "detail": body[:_QUOTED].decode(errors="replace")}


def _seconds_until(text: str) -> float | None:
    """What a `Retry-After` asks for, in seconds or as a date; None where it asks for nothing that can be read."""
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
