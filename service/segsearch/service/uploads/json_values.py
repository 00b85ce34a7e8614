"""JSON that somebody else wrote, read within limits; every fault names its place.

Where it stands: `json_frames` reads uploads with it, `rest.inference_body` requests of the Open Inference Protocol.
"""

import json
from typing import Any, Final

from segsearch.core.errors import InputTooLarge, InvalidInput

# Lists, objects and texts that a body may hold beside its rows. Each is many times larger in memory than the bytes
# that spell it, so they are counted before the first is made.
_MARK_LIMIT: Final = 100_000
# A number takes up to twelve times its text, and reading it holds up every other thread: an hour of YouTube-8M frames.
NUMBER_LIMIT: Final = 4_000_000


def check_marks(body: bytes, row_limit: int, instead: str) -> None:
    """Raises InputTooLarge where a body holds more than it may. instead: what holds more, as the error tells."""
    limits = {
        "lists": (b"[", row_limit + _MARK_LIMIT), "objects": (b"{", _MARK_LIMIT), "texts": (b'"', _MARK_LIMIT),
        "values": (b",", NUMBER_LIMIT),
    }  # fmt: skip
    for things, (mark, limit) in limits.items():
        # In UTF-16 and UTF-32 the mark's byte stands for itself, too, so that nothing is missed.
        if (count := body.count(mark)) > limit:
            raise InputTooLarge("body", f"{count} {things}", f"at most {limit}; {instead}")


def parsed(body: bytes, wanted: str) -> Any:
    """What the body says; raises InvalidInput where it is not JSON, or an object has two members of one name."""
    try:
        return json.loads(body, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("body", f"not JSON ({error})", wanted) from None


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object as a dictionary; of two members of one name JSON's readers keep now the first, now the last."""
    found = dict(members)
    if len(found) < len(members):
        names = [name for name, _ in members]
        raise InvalidInput(f"body: {shown(next(name for name in names if names.count(name) > 1))}", "twice", "once")
    return found


def check_members(field: str, value: Any, wanted: set[str], optional: set[str]) -> None:
    """An object with these members and no others: a misspelt one must not be passed over."""
    if not isinstance(value, dict):
        raise InvalidInput(field, shown(value), f"an object with {', '.join(sorted(wanted))}")
    if missing := sorted(wanted - set(value)):
        raise InvalidInput(f"{field}.{missing[0]}", "missing", f"{', '.join(sorted(wanted))} in {field}")
    if unknown := sorted(set(value) - wanted - optional):
        raise InvalidInput(
            f"{field}.{shown(unknown[0])[1:-1]}", "unknown", f"only {', '.join(sorted(wanted | optional))}"
        )


def row_bytes(field: str, row: Any, size: int) -> bytes:
    """One frame's codes. The error names the position of the first value that is no byte."""
    if not isinstance(row, list):
        raise InvalidInput(field, shown(row), f"a list of {size} numbers")
    if len(row) != size:
        raise InvalidInput(field, f"{len(row)} values", f"{size}")
    if set(map(type, row)) == {int}:  # not isinstance: a bool would pass as a number
        try:
            return bytes(row)
        except (ValueError, OverflowError):
            pass
    at, value = next((at, value) for at, value in enumerate(row) if type(value) is not int or not 0 <= value <= 255)
    raise InvalidInput(f"{field}[{at}]", shown(value), "a whole number from 0 to 255")


def shown(value: Any) -> str:
    """A JSON value as an error names it: containers by kind, the rest by value, shortened."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 64:
        return "a number beyond 64 bits"
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
