"""API keys: what one looks like, what it may do, and what is kept of it.

A key is `segsearch.<id>.<secret>`. Its id is public: it stands in logs. Its secret is 32 random bytes, of which only a
SHA-256 is kept. A slow hash, as passwords need, would add nothing: nobody tries out 2**256 secrets, whatever one try
costs, and every request would pay for it.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

SECRET_BYTES: Final = 32
KEY_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
KEY_ID_WANTED: Final = "1 to 40 small letters, digits and hyphens, the first no hyphen"
_PREFIX: Final = "segsearch"
_KEY_LIMIT: Final = 200  # characters; ours have at most 94


class Scope(StrEnum):
    """What a key may do: each scope also what those before it may."""

    read = "read"
    write = "write"
    admin = "admin"

    def includes(self, wanted: "Scope") -> bool:
        """Whether a key of this scope may do what needs `wanted`."""
        order = list(Scope)
        return order.index(self) >= order.index(wanted)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of a key."""

    id: str
    scope: Scope
    digest: str  # SHA-256 of the whole key, in hex


def make_key(key_id: str, scope: Scope) -> tuple[str, ApiKey]:
    """A new key, to be shown once, and what is kept of it."""
    key = f"{_PREFIX}.{key_id}.{secrets.token_urlsafe(SECRET_BYTES)}"
    return key, ApiKey(key_id, scope, digest_of(key))


def digest_of(key: str) -> str:
    """What is kept of a key's text."""
    return hashlib.sha256(key.encode()).hexdigest()


def id_in(key: str) -> str | None:
    """The id that a key's text names; None where it is not made like a key."""
    parts = key.split(".") if len(key) <= _KEY_LIMIT else []
    return parts[1] if len(parts) == 3 and parts[0] == _PREFIX else None
