"""How long calls may wait for their clients: no call for ever, as each one keeps a thread or memory.

Where it stands: the twin of `connection`. `calls` says when a call waits; the server looks every second, and asks here
whether all that it began is answered before it ends.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Protocol


class Waiting(Protocol):
    """A call, as far as it matters here."""

    patience_ends_s: float | None  # of `time.monotonic`; None while it is our turn
    lasting: bool  # goes on until its client ends it, so that nobody waits for its end

    def cut(self) -> None:
        """Ends it without an answer."""


class Patience:
    """The calls that are not over. Any number of threads may ask."""

    def __init__(self) -> None:
        self._calls: set[Waiting] = set()  # each use of it is one step of the interpreter's, and needs no lock

    def watch(self, call: Waiting) -> Callable[[], object]:
        """Of a call that began; to be told when it is over: its answer has left, or its client has."""
        self._calls.add(call)
        return partial(self._calls.discard, call)

    def all_over(self) -> bool:
        """Whether only lasting calls are left."""
        return all(call.lasting for call in list(self._calls))

    def cut_late(self) -> None:
        """Ends the calls whose clients are late with what they owe."""
        now_s = time.monotonic()
        for call in list(self._calls):
            ends_s = call.patience_ends_s
            if ends_s is not None and ends_s < now_s:
                call.cut()
