"""The id of one request, as its answer, the log and traces name it: alike at both edges."""

import random
import re
from typing import Final

HEADER: Final = "x-request-id"
_PLAIN: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")  # what may stand in our logs as it is


def request_id(callers: str = "") -> str:
    """The caller's own, so that it can follow a request through several services; one of ours where it is not plain."""
    # Ours tells requests apart, and need not be hard to guess.
    return callers if callers and _PLAIN.fullmatch(callers) else f"{random.getrandbits(64):016x}"
