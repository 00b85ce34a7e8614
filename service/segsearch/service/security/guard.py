"""Lets a request pass, or says why not: the one decision that every edge asks for."""

from dataclasses import dataclass

from segsearch.core.errors import Forbidden, Unauthorised
from segsearch.service.security.key_file import KeyRing
from segsearch.service.security.keys import ApiKey, Scope
from segsearch.service.security.rate_limit import Buckets, RateLimit
from segsearch.service.settings import Settings


@dataclass(frozen=True, slots=True)
class Guard:
    """Knows the keys and how often each may ask; without keys it lets everybody pass."""

    keys: KeyRing | None = None
    rate: RateLimit | None = None

    @classmethod
    def of(cls, settings: Settings, buckets: Buckets | None = None) -> "Guard":
        """The keys and limits of a server; raises KeyFileRefused. buckets: where limits are counted with others."""
        keys = KeyRing(settings.keys) if settings.keys else None
        rate = RateLimit(settings.rate_per_s, settings.rate_burst, buckets=buckets) if settings.rate_per_s else None
        return cls(keys, rate)

    def identify(self, key: str | None) -> ApiKey | None:
        """Whose key it is; None where no keys are set. Raises Unauthorised."""
        if self.keys is None:
            return None
        if key is None:
            raise Unauthorised("no key")
        if (known := self.keys.find(key)) is None:
            raise Unauthorised("unknown key")
        return known

    def admit(self, known: ApiKey | None, wanted: Scope) -> None:
        """Raises RateLimited, or Forbidden where the key may not do this."""
        if known is None:
            return
        if self.rate is not None:
            self.rate.spend(known.id)
        if not known.scope.includes(wanted):
            raise Forbidden(known.scope, wanted)
