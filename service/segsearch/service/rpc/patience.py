"""How long calls may wait for their clients: no call for ever, as each one keeps a thread or memory.

Where it stands: the twin of `connection`. `calls` says when a call waits; the server looks every second, and asks here
whether all that it began is answered before it ends.
"""

import threading
import time
from typing import Protocol


class Waiting(Protocol):
    """A call, as far as it matters here."""

    patience_ends_s: float | None  # of `time.monotonic`; None while it is our turn
    lasting: bool  # goes on until its client ends it, so that nobody waits for its end

    def cut(self) -> None:
        """Ends it without an answer."""


class Patience:
    """The calls that are not over."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: set[Waiting] = set()

    def add(self, call: Waiting) -> None:
        """A call that began."""
        with self._lock:
            self._calls.add(call)

    def remove(self, call: Waiting) -> None:
        """A call that is over: its answer has left, or its client has."""
        with self._lock:
            self._calls.discard(call)

    def all_over(self) -> bool:
        """Whether only lasting calls are left."""
        with self._lock:
            return all(call.lasting for call in self._calls)

    def cut_late(self) -> None:
        """Ends the calls whose clients are late with what they owe."""
        with self._lock:
            calls = list(self._calls)
        now_s = time.monotonic()
        for call in calls:
            if call.patience_ends_s is not None and call.patience_ends_s < now_s:
                call.cut()
