"""What the service notes while it runs: one JSON object a line on stderr, an event's name and its facts."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from segsearch.service.tracing.trace import current

_LOG = logging.getLogger("segsearch.service")
_ALWAYS: dict[str, Any] = {}  # facts of this process, in each of its lines


def log(event: str, *, level: int = logging.INFO, **facts: Any) -> None:
    """Notes one event; facts are plain values."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds")
    trace = current()
    if trace is not None:
        facts["trace"] = trace.id
    _LOG.log(level, json.dumps({"time": time, "event": event, **_ALWAYS, **facts}, default=str))


class _Others(logging.Formatter):
    """What libraries say, as an event."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, as Formatter's own would be several where there is a traceback."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        facts = {"logger": record.name, "level": record.levelname, "reason": super().format(record)}
        return json.dumps({"time": time, "event": "library_told", **_ALWAYS, **facts})


def to_stderr(**always: Any) -> None:
    """Sends events to stderr, each with these facts, too, and what libraries warn of; called once by whoever owns the
    process.
    """
    _ALWAYS.update(always)
    others = logging.StreamHandler(sys.stderr)
    others.setFormatter(_Others())
    others.setLevel(logging.WARNING)
    logging.getLogger().handlers[:] = [others]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    _LOG.handlers[:] = [handler]
    _LOG.setLevel(logging.INFO)
    _LOG.propagate = False
