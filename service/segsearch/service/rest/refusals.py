"""Callers who are refused take turns, so many a second: who comes back at once must not take the time that scoring has.

Where it stands: `problems` waits here before it says 429 or 503. A refusal costs more than a search that is at hand,
and goes before scoring as all does that the event loop does: a few clients without patience would leave it nothing.
"""

import asyncio
import time
from typing import Final

PER_S: Final = 20  # refusals; where there are fewer, nobody waits
LONGEST_S: Final = 5.0  # that anybody waits: beyond 100 callers who come back at once more are refused


class Refusals:
    """Of one event loop."""

    def __init__(self) -> None:
        self._last_s = 0.0  # turn that was given

    async def turn(self) -> None:
        """Returns when the caller may be refused."""
        now_s = time.monotonic()
        await asyncio.sleep(self.next_s(now_s) - now_s)

    def next_s(self, now_s: float) -> float:
        """When a caller is refused who comes now; the next one's turn is after it."""
        self._last_s = min(max(now_s, self._last_s + 1 / PER_S), now_s + LONGEST_S)
        return self._last_s
