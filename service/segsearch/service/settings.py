"""The service's settings: read once at start, handed down; nothing below reads the environment."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from segsearch.core.errors import ConfigError

FRAME_LIMIT: Final = 36_000  # the longest video that is scored unless told: ten hours
FRAME_LIMIT_CAP: Final = 10_000_000
BODY_LIMIT_BYTES: Final = 64 << 20  # holds such a video, in base64 too
BODY_ROOM_BYTES: Final = 512 << 20
BODY_TIMEOUT_S: Final = 60
ANSWER_CACHE_BYTES: Final = 64 << 20
QUEUE_FRAMES: Final = 40_000  # 46 MB of them as YouTube-8M has frames
QUEUE_FRAMES_CAP: Final = 100_000_000
BATCH_WAIT_MS: Final = 2
COMPACT_AT_ROWS: Final = 250_000
COMPACT_AT_DELETED: Final = 0.05
KEEP_GENERATIONS: Final = 3  # the current one, and two to go back to
KEEP_GENERATIONS_CAP: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Limits, addresses and keys of one server."""

    host: str = "127.0.0.1"
    port: int = 8000  # 0 takes a free one
    grpc_port: int | None = None  # None: no gRPC; 0 takes a free one
    body_limit_bytes: int = BODY_LIMIT_BYTES  # of one request
    body_room_bytes: int = BODY_ROOM_BYTES  # of all that are under way over HTTP, never less than of one
    body_timeout_s: int = BODY_TIMEOUT_S  # from a request's head to the end of its body
    frame_limit: int = FRAME_LIMIT  # of one video to score
    queue_frames: int = QUEUE_FRAMES  # that may wait to be scored
    batch_wait_ms: int = BATCH_WAIT_MS  # how long a video waits for others to go through the model with it
    shutdown_s: int = 30  # how long requests under way may take after SIGTERM
    drain_s: int = 0  # how long new ones are taken after SIGTERM, while /readyz sends them elsewhere
    keys: Path | None = None  # file of API keys; without one everybody may do everything
    allow_open: bool = False  # serve other machines without keys
    rate_per_s: float = 0.0  # requests of one key; 0 sets no limit
    rate_burst: int = 100  # requests that a key may send at once
    tls_certificate: Path | None = None  # PEM, with what leads to its authority
    tls_key: Path | None = None
    tls_client_ca: Path | None = None  # whose clients alone are let in
    log_requests: bool = False  # a line for each request
    traces_endpoint: str | None = None  # URL of a collector
    traces_share: float = 1.0  # of the requests whose callers have not decided
    answer_cache_bytes: int = ANSWER_CACHE_BYTES  # of searches that were answered, for whoever asks the same; 0: none
    bundles: Path | None = None  # folder whose bundles may be loaded while the server runs
    bundle_key: Path | None = None  # public key that every bundle must be signed with
    data: Path | None = None  # folder whose shards may be reindexed over the API
    compact_at_rows: int = COMPACT_AT_ROWS  # live segments that become part of a generation by themselves; 0: never
    compact_at_deleted: float = COMPACT_AT_DELETED  # share of a generation's videos whose deletion does it; 0: none
    keep_generations: int = KEEP_GENERATIONS  # that compactions and reindexes which it starts leave
    workers: int = 1  # processes that answer

    def __post_init__(self) -> None:
        wishes = {
            "port": (self.port, 0, 65_535),
            "grpc_port": (self.grpc_port or 0, 0, 65_535),
            "body_limit_bytes": (self.body_limit_bytes, 1, 1 << 32),
            "body_room_bytes": (self.body_room_bytes, 1 << 20, 1 << 40),
            "body_timeout_s": (self.body_timeout_s, 1, 86_400),
            "frame_limit": (self.frame_limit, 1, FRAME_LIMIT_CAP),
            "queue_frames": (self.queue_frames, 1, QUEUE_FRAMES_CAP),
            "batch_wait_ms": (self.batch_wait_ms, 0, 10_000),
            "shutdown_s": (self.shutdown_s, 0, 3_600),
            "drain_s": (self.drain_s, 0, 3_600),
            "rate_burst": (self.rate_burst, 1, 1_000_000),
            "answer_cache_bytes": (self.answer_cache_bytes, 0, 1 << 40),
            "compact_at_rows": (self.compact_at_rows, 0, 1 << 32),
            "keep_generations": (self.keep_generations, 1, KEEP_GENERATIONS_CAP),
            "workers": (self.workers, 1, 256),
        }
        for field, (value, lowest, highest) in wishes.items():
            ConfigError.check_range(field, value, lowest, highest)
        if not (self.rate_per_s == 0 or 0.001 <= self.rate_per_s <= 1_000_000):
            raise ConfigError("rate_per_s", self.rate_per_s, "0 for no limit, or 0.001 to 1000000")
        if not 0 <= self.compact_at_deleted <= 1:
            raise ConfigError("compact_at_deleted", self.compact_at_deleted, "a share, 0 to 1")
        self._check_security()
        self._check_traces()

    def _check_security(self) -> None:
        """Refuses what would be open, or unlimited, where somebody thinks that it is not."""
        if not (self.is_loopback or self.keys or self.allow_open):
            raise ConfigError("host", self.host, "an address of this machine alone, or --keys, or --allow-open")
        if self.rate_per_s and not self.keys:
            raise ConfigError("rate_per_s", self.rate_per_s, "--keys, too: limits are by key")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ConfigError("tls_certificate and tls_key", "one of them", "both or neither")
        if self.tls_client_ca and not self.tls_certificate:
            raise ConfigError("tls_client_ca", str(self.tls_client_ca), "--tls-certificate and --tls-key, too")

    def _check_traces(self) -> None:
        if self.traces_endpoint is not None and not _is_web_url(self.traces_endpoint):
            wanted = "an http or https URL, such as http://127.0.0.1:4318"
            raise ConfigError("traces_endpoint", self.traces_endpoint, wanted)
        if not 0 <= self.traces_share <= 1:
            raise ConfigError("traces_share", self.traces_share, "a share, 0 to 1")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in ("127.0.0.1", "::1", "localhost")

    @property
    def is_open(self) -> bool:
        """Whether whoever reaches the server from elsewhere may do everything."""
        return not self.is_loopback and self.keys is None


def _is_web_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:  # a port that is none, an address that is none
        return False


def cache_folder() -> Path:
    """Where things lie that can be found out again: XDG_CACHE_HOME/segsearch, else ~/.cache/segsearch."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "segsearch"
