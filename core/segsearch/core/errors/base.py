"""What every error of segsearch is: a name that stays, facts as attributes, and a way from one process to another."""

from typing import Any


class SegsearchError(Exception):
    """Base of everything segsearch raises on purpose."""

    code = "internal"

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross from workers to who waits for them, and constructors take facts, not the message that is kept.
        return restored, (type(self), self.args, self.__dict__)


def restored(kind: type[SegsearchError], arguments: tuple[object, ...], facts: dict[str, object]) -> SegsearchError:
    """An error as it was elsewhere, from its message and its facts."""
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(facts)
    return error
