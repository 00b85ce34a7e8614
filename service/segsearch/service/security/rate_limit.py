"""How often each key may ask: a token bucket, which allows a burst and then a steady rate."""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from segsearch.core.errors import RateLimited


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at_s: float


class RateLimit:
    """Spends a token a request; buckets hold `burst` tokens and gain `rate_per_s`. Any number of threads may call."""

    def __init__(self, rate_per_s: float, burst: int, clock: Callable[[], float] = time.monotonic):
        self._rate_per_s, self._burst, self._clock = rate_per_s, burst, clock
        self._lock = threading.Lock()
        self._buckets: dict[str, _Bucket] = {}  # by key id: no more of them than keys were ever in the file

    def spend(self, key_id: str) -> None:
        """Raises RateLimited, which says when a token will be there."""
        with self._lock:
            now_s = self._clock()
            bucket = self._buckets.setdefault(key_id, _Bucket(self._burst, now_s))
            gained = max(0.0, now_s - bucket.filled_at_s) * self._rate_per_s
            bucket.tokens, bucket.filled_at_s = min(float(self._burst), bucket.tokens + gained), now_s
            if bucket.tokens < 1:
                wait_s = math.ceil((1 - bucket.tokens) / self._rate_per_s)
                raise RateLimited(self._rate_per_s, max(1, wait_s))
            bucket.tokens -= 1
