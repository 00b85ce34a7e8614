"""When a call that failed is sent again, by the rules of AIP-194: what is unavailable, and may be asked twice.

Where it stands: `sending` begins `Tries` for each call and asks them after each attempt. Waits have full jitter, from
nothing to a length that doubles, so that clients that failed together do not come back together. No wait goes beyond
the call's own deadline.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from segsearch.client.calls import Reach
from segsearch.client.outcomes import Outcome
from segsearch.core.errors import ConfigError, ServiceTooSlow


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How often a call may be sent, and how long it waits in between."""

    attempts: int = 5  # the first included
    first_s: float = 0.1  # the longest wait after the first attempt; it doubles with each
    longest_s: float = 5.0

    def __post_init__(self) -> None:
        ConfigError.check_range("attempts", self.attempts, 1, 100)
        if not 0 <= self.first_s <= self.longest_s:
            raise ConfigError("first_s", self.first_s, f"0 to longest_s, {self.longest_s:g}")


USUAL = Retries()


class Tries:
    """The attempts of one call."""

    def __init__(
        self,
        url: str,
        limit_s: float,
        retries: Retries,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ):
        self._url, self._limit_s, self._retries = url, limit_s, retries
        self._clock, self._jitter = clock, jitter
        self._deadline_s, self._made = clock() + limit_s, 0

    @property
    def left_s(self) -> float:
        """Until the deadline; never nothing, as sockets take that for no limit."""
        return max(self._deadline_s - self._clock(), 0.001)

    def late(self) -> ServiceTooSlow:
        """The error of a call whose time is up."""
        return ServiceTooSlow(self._url, self._limit_s)

    def in_time(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The chunks, for as long as there is time; raises ServiceTooSlow."""
        for chunk in chunks:
            if self._clock() >= self._deadline_s:
                raise self.late()
            yield chunk

    def wait_s(self, outcome: Outcome, repeat_after: Reach) -> float | None:
        """How long to wait before the next attempt; None where this outcome is the last."""
        self._made += 1
        if outcome.reach is None or outcome.reach > repeat_after or self._made >= self._retries.attempts:
            return None
        longest_s = min(self._retries.longest_s, self._retries.first_s * 2 ** (self._made - 1))
        wait_s = (outcome.retry_after_s or 0.0) + self._jitter() * longest_s
        return wait_s if wait_s < self.left_s else None
