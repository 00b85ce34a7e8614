"""The service's settings: read once at start, handed down; nothing below reads the environment."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from segsearch.core.errors import ConfigError

FRAME_LIMIT: Final = 36_000  # the longest video that is scored unless told: ten hours
FRAME_LIMIT_CAP: Final = 10_000_000
BODY_LIMIT_BYTES: Final = 64 << 20  # holds such a video, in base64 too
BODY_TIMEOUT_S: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Limits and addresses of one server."""

    host: str = "127.0.0.1"
    port: int = 8000  # 0 takes a free one
    body_limit_bytes: int = BODY_LIMIT_BYTES  # of one request
    body_timeout_s: int = BODY_TIMEOUT_S  # from a request's head to the end of its body
    frame_limit: int = FRAME_LIMIT  # of one video to score
    shutdown_s: int = 30  # how long requests under way may take after SIGTERM

    def __post_init__(self) -> None:
        wishes = {
            "port": (self.port, 0, 65_535),
            "body_limit_bytes": (self.body_limit_bytes, 1, 1 << 32),
            "body_timeout_s": (self.body_timeout_s, 1, 86_400),
            "frame_limit": (self.frame_limit, 1, FRAME_LIMIT_CAP),
            "shutdown_s": (self.shutdown_s, 0, 3_600),
        }
        for field, (value, lowest, highest) in wishes.items():
            ConfigError.check_range(field, value, lowest, highest)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in ("127.0.0.1", "::1", "localhost")


def cache_folder() -> Path:
    """Where things lie that can be found out again: XDG_CACHE_HOME/segsearch, else ~/.cache/segsearch."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "segsearch"
