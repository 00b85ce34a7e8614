"""Which of the forms that we write a client likes best (RFC 9110, `Accept`)."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

_REMEMBERED = 256  # headers: clients of a kind send the same


class _Range(NamedTuple):
    """What a part of `Accept` says of the media types that it names."""

    name: str  # `*/*`, `type/*` or a media type
    weight: float


@lru_cache(_REMEMBERED)
def best_type(accept: str, offered: Sequence[str]) -> str | None:
    """Of the media types offered the one with the client's highest weight, the first of equals; None for none of them.

    accept: the header; empty accepts everything. A weight that is none counts as a refusal.
    """
    ranges = [_range(part) for part in accept.lower().split(",") if part.strip()]
    weights = {name: _weight(name, ranges) for name in offered}
    best = max(offered, key=lambda name: weights[name])
    return best if not ranges or weights[best] > 0 else None


def _range(part: str) -> _Range:
    name, *parameters = (text.strip() for text in part.split(";"))
    weights = [value for key, _, value in (text.partition("=") for text in parameters) if key.strip() == "q"]
    try:
        weight = float(weights[0]) if weights else 1.0
    except ValueError:
        weight = 0.0
    return _Range(name, weight if 0 <= weight <= 1 else 0.0)


def _weight(name: str, ranges: Sequence[_Range]) -> float:
    """What the range that speaks most closely of a media type says; a type that none speaks of is not accepted."""
    for wanted in (name, f"{name.partition('/')[0]}/*", "*/*"):
        found = [spoken.weight for spoken in ranges if spoken.name == wanted]
        if found:
            return max(found)
    return 0.0
