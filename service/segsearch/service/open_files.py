"""How many files this process may have open, connections among them, and how many of them callers may take.

Where it stands: `server` raises the limit as it starts; `connection` lets silent callers go where there are too many.
"""

import resource
from typing import Final

_WANTED: Final = 1 << 16
_UNBOUNDED: Final = 1 << 20


def raise_limit() -> None:
    """Takes as many as the system lets this process have, within reason: shells often give it 1,024 of them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(hard, _WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connection_cap() -> int:
    """How many connections callers may have over HTTP: half of all, so that the index and the model find some."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _UNBOUNDED if soft == resource.RLIM_INFINITY else max(1, soft // 2)
