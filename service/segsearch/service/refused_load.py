"""The last load of a bundle, where it was refused: why the model is still the one before.

Where it stands: `library` notes it and the edges tell of it; `processes.worker` has its parent keep it for all workers.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from segsearch.core.errors import ModelNotLoaded
from segsearch.service.bounded import bounded_text


@dataclass(frozen=True, slots=True)
class RefusedLoad:
    """A load that left the bundle in use where it was."""

    path: str  # as it was asked for
    reason: str  # as its answer told it, without folders of the server
    at: str  # ISO 8601, UTC

    @classmethod
    def now(cls, error: ModelNotLoaded) -> "RefusedLoad":
        """Of a load that was refused just now."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(bounded_text(error.path), bounded_text(error.reason), at)


class LastLoad(Protocol):
    """How the last load ended."""

    def refused(self) -> RefusedLoad | None:
        """None: it succeeded, or there was none."""

    def ended(self, refused: RefusedLoad | None) -> None:
        """Another one did; None: it succeeded."""


class OwnLastLoad:
    """That of this process."""

    def __init__(self) -> None:
        self._refused: RefusedLoad | None = None

    def refused(self) -> RefusedLoad | None:
        """See LastLoad."""
        return self._refused

    def ended(self, refused: RefusedLoad | None) -> None:
        """See LastLoad."""
        self._refused = refused
