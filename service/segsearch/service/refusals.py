"""Callers who are refused take turns, so many a second: who comes back at once must not take the time that scoring has.

Where it stands: each edge has turns of its own, and waits for one as it can before it says no: `rest.problems` on the
event loop, `rpc.calls` without a thread. A refusal costs more than a search that is at hand, and goes before scoring as
all does that an edge does itself: a few clients without patience would leave it nothing.
"""

import threading
from typing import Final

from segsearch.core.errors import QueueFull, RateLimited, TooManyCalls

REFUSED: Final = (QueueFull, RateLimited, TooManyCalls)  # who is told so may come back at once
PER_S: Final = 20  # refusals; where there are fewer, nobody waits
LONGEST_S: Final = 5.0  # that anybody waits: beyond 100 callers who come back at once more are refused


class Refusals:
    """The turns of one edge. Any number of threads may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last_s = 0.0  # turn that was given

    def next_s(self, now_s: float) -> float:
        """When a caller is refused who comes now; the next one's turn is after it."""
        with self._lock:
            self._last_s = min(max(now_s, self._last_s + 1 / PER_S), now_s + LONGEST_S)
            return self._last_s
