"""How one attempt of a call can end, and what that is to the caller: an answer, or an error.

Where it stands: a transport makes outcomes, `retries` decides whether there is another attempt, `settle` ends the call.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from segsearch.client.calls import Answer, Call, Reach
from segsearch.core import errors
from segsearch.core.errors import SegsearchError, ServiceRefused, restored

_BUGS: Final = (500, "INTERNAL", "UNKNOWN")


@dataclass(frozen=True, slots=True)
class Told:
    """The service answered what was asked."""

    answer: Any  # as its JSON has it
    status: int | str
    request_id: str | None
    reach: None = None  # it is the last word
    retry_after_s: None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The service, or something before it, said no."""

    status: int | str  # of HTTP, or the name that gRPC has for it
    code: str
    detail: str
    facts: Mapping[str, Any]
    request_id: str | None
    retry_after_s: float | None
    reach: Reach | None  # None: another try would end the same


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer came, or none that can be read."""

    error: SegsearchError
    reach: Reach | None
    retry_after_s: None = None


Outcome = Told | Refused | Lost


def settle(call: Call[Answer], outcome: Outcome) -> Answer:
    """The call's answer; raises what the service said in its place, ServiceUnreachable or ServiceTooSlow."""
    if isinstance(outcome, Lost):
        raise outcome.error
    if isinstance(outcome, Refused):
        raise error_of(outcome)
    try:
        return call.read(outcome.answer)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        found = f"an answer to {call.name} that cannot be read ({type(error).__name__}: {error})"
        raise ServiceRefused(outcome.status, "unreadable", found, outcome.request_id) from error


def error_of(refused: Refused) -> SegsearchError:
    """The error that the service means, with the facts that it tells; its cause is a ServiceRefused with the rest.

    It is that ServiceRefused where there is no error of the code, or the service hides a failure of its own behind it.
    What a service keeps to itself, as the paths of its folders, the error does not have.
    """
    cause = ServiceRefused(refused.status, refused.code, refused.detail, refused.request_id)
    kind = _kinds().get(refused.code)
    if kind is None or refused.status in _BUGS:
        return cause
    error = restored(kind, (refused.detail,), dict(refused.facts))
    error.__cause__ = cause
    return error


@cache
def _kinds() -> dict[str, type[SegsearchError]]:
    """The errors that can stand in an answer, by code."""
    found = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SegsearchError)]
    return {kind.code: kind for kind in found if kind not in (SegsearchError, ServiceRefused)}
