"""How often each key may ask: a token bucket, which allows a burst and then a steady rate.

Where it stands: `guard` spends a token for each request. Where several processes answer as one, `shared_buckets` is
where the buckets stand.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple, Protocol

from segsearch.core.errors import RateLimited


class Bucket(NamedTuple):
    """What a key has left."""

    tokens: float
    filled_at_s: float


class Held(Protocol):
    """Buckets by key id, while nobody else changes them."""

    def get(self, key_id: str, /) -> Bucket | None: ...

    def __setitem__(self, key_id: str, bucket: Bucket, /) -> None: ...


class Buckets(Protocol):
    """Where buckets stand."""

    def held(self) -> AbstractContextManager[Held]: ...


class OwnBuckets:
    """The buckets of one process; no more of them than keys were ever in the file."""

    def __init__(self) -> None:
        self._lock, self._buckets = threading.Lock(), dict[str, Bucket]()

    @contextmanager
    def held(self) -> Iterator[Held]:
        """See Buckets."""
        with self._lock:
            yield self._buckets


class RateLimit:
    """Spends a token a request; buckets hold `burst` tokens and gain `rate_per_s`. Any number of threads may call."""

    def __init__(
        self,
        rate_per_s: float,
        burst: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        buckets: Buckets | None = None,
    ):
        """buckets: which ones, where other processes spend from them, too; their clocks must be the same."""
        self._rate_per_s, self._burst, self._clock = rate_per_s, burst, clock
        self._buckets = buckets or OwnBuckets()

    def spend(self, key_id: str) -> None:
        """Raises RateLimited, which says when a token will be there."""
        with self._buckets.held() as buckets:
            now_s = self._clock()
            tokens, filled_at_s = buckets.get(key_id) or (float(self._burst), now_s)
            gained = max(0.0, now_s - filled_at_s) * self._rate_per_s
            tokens = min(float(self._burst), tokens + gained)
            enough = tokens >= 1
            buckets[key_id] = Bucket(tokens - enough, now_s)
        if not enough:
            raise RateLimited(self._rate_per_s, max(1, math.ceil((1 - tokens) / self._rate_per_s)))
