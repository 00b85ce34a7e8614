"""What others sent, cut to what is kept of it, logged or told: plain values of a bounded length.

Where it stands: both edges put what an admin asked for into an audit line by it; `refused_load` keeps a reason so.
"""

from collections.abc import Sequence
from typing import Final

Value = str | int | bool | list[str] | None
Asked = dict[str, Value]  # what an audit line says of a request, by the name that the request has for it

TEXT_LIMIT: Final = 1_000  # characters: no path, pattern or id that is taken is longer
LIST_LIMIT: Final = 100  # texts: no request that is taken has more


def bounded_text(text: str, limit: int = TEXT_LIMIT) -> str:
    """A text that any encoding takes, of no more characters than `limit`; one that is cut ends with an ellipsis."""
    text = text[: limit + 1].encode(errors="replace").decode()  # a name of a file may have bytes that are no text
    return text if len(text) <= limit else f"{text[: limit - 1]}\N{HORIZONTAL ELLIPSIS}"


def asked_for(**given: str | int | bool | Sequence[str] | None) -> Asked:
    """What was asked for, as an audit line says it; what any request may hold that is taken is never cut."""
    return {name: _bounded(value) for name, value in given.items()}


def _bounded(value: str | int | bool | Sequence[str] | None) -> Value:
    if isinstance(value, str):
        return bounded_text(value)
    if value is None or isinstance(value, int):
        return value
    return [bounded_text(text) for text in value[:LIST_LIMIT]]
