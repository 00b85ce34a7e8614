"""Connections that the server ended by itself: how many, and why. Each process counts its own.

Where it stands: `connection` counts and answers what it can, `rest.metrics` shows.
"""

import json
import logging
from collections import Counter
from enum import StrEnum
from http import HTTPStatus
from typing import Final

from segsearch.service.events import log
from segsearch.service.request_id import HEADER, request_id


class Why(StrEnum):
    """Why a connection was ended."""

    malformed = "malformed"  # what came is no HTTP request
    silent = "silent"  # no further request came, or the rest of one did not
    untaken = "untaken"  # an answer lay ready, and was not taken
    crowded = "crowded"  # others wanted its place, and it had been silent for longest


ENDED: Final[Counter[Why]] = Counter()


def malformed() -> bytes:
    """The whole answer to what is no HTTP request: a problem document as others get, with the id that is logged."""
    ENDED[Why.malformed] += 1
    named = request_id()
    log("request_malformed", level=logging.WARNING, request=named)
    status = HTTPStatus.BAD_REQUEST
    problem = {
        "type": "/problems/bad-request", "title": status.phrase, "status": status.value,
        "detail": "What came is no request of HTTP/1.1 (RFC 9112) that can be told apart from the next one.",
    }  # fmt: skip
    body = json.dumps(problem).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
        f"content-length: {len(body)}\r\n{HEADER}: {named}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
