"""The file of API keys: a line `<id> <scope> <SHA-256>` each, read again as soon as it changes.

Where it stands: `segsearch keys` writes it, the guard looks keys up in it. `#` begins a comment.
"""

import hmac
import logging
import os
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from segsearch.core.errors import KeyFileRefused
from segsearch.core.files import write_atomically
from segsearch.service.events import log
from segsearch.service.security.keys import KEY_ID, KEY_ID_WANTED, ApiKey, Scope, digest_of, id_in

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_FIELDS: Final = 3
# What the secret of a key that is not there is compared with, so that it takes as long as one that is wrong.
_NOBODY: Final = "0" * 64

_Stamp = tuple[int, int, int]


def read_keys(path: Path) -> dict[str, ApiKey]:
    """The keys by id; raises KeyFileRefused, which names the line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        cause = error if isinstance(error, OSError) else None  # the other holds what is in the file
        raise KeyFileRefused(path, None, f"cannot be read ({type(error).__name__})", "a text file of keys") from cause
    keys: dict[str, ApiKey] = {}
    for number, line in enumerate(lines, start=1):
        if fields := line.partition("#")[0].split():
            key = _key(path, number, fields)
            if key.id in keys:
                raise KeyFileRefused(path, number, f"a second key {key.id!r}", "one line for each id")
            keys[key.id] = key
    return keys


def add_key(path: Path, key: ApiKey) -> None:
    """Writes a key behind those in the file, which need not exist yet; raises KeyFileRefused if its id is taken."""
    text = ""
    if path.exists():
        if key.id in read_keys(path):
            raise KeyFileRefused(path, None, f"key {key.id!r} is there already", "another id, or that line removed")
        text = path.read_text(encoding="utf-8").rstrip("\n") + "\n"
    write_atomically(path, f"{text}{key.id} {key.scope} {key.digest}\n".lstrip("\n"))


def _key(path: Path, number: int, fields: list[str]) -> ApiKey:
    if len(fields) != _FIELDS:
        raise KeyFileRefused(path, number, f"{len(fields)} fields", "an id, a scope and a SHA-256")
    key_id, scope, digest = fields
    if not KEY_ID.fullmatch(key_id):
        raise KeyFileRefused(path, number, f"id {key_id[:80]!r}", KEY_ID_WANTED)
    if scope not in list(Scope):
        raise KeyFileRefused(path, number, f"scope {scope[:80]!r}", ", ".join(Scope))
    if not _DIGEST.fullmatch(digest):
        # Not quoted: somebody may have put the key itself there.
        raise KeyFileRefused(path, number, "something else than a SHA-256", "64 hexadecimal digits")
    return ApiKey(key_id, Scope(scope), digest)


class KeyRing:
    """The keys of a file as it is now. Methods may be called from any number of threads."""

    def __init__(self, path: Path):
        """Raises KeyFileRefused."""
        self._path = path
        self._reading = threading.Lock()
        self._stamp = self._stat()  # before it is read: a change in between is seen as one later
        self._complained = self._stamp  # of the file that the log was last told of
        self._keys: Mapping[str, ApiKey] = read_keys(path)

    def find(self, key: str) -> ApiKey | None:
        """What is kept of a key that somebody shows, unless it is unknown. Takes as long for every wrong one."""
        self._follow()
        kept = self._keys.get(id_in(key) or "")
        same = hmac.compare_digest(digest_of(key), kept.digest if kept else _NOBODY)
        return kept if same else None

    def _follow(self) -> None:
        """Reads the file again if it changed; where that fails, the keys that were there stay, and the log says so.

        What the system would not read, as for want of file descriptors, is tried again the next time.
        """
        stamp, before = self._stat(), self._stamp
        if stamp == before or not self._reading.acquire(blocking=False):
            return
        try:
            self._stamp = stamp  # before anything can go wrong: a damaged file is tried once
            self._keys = read_keys(self._path)
        except KeyFileRefused as error:
            if isinstance(error.__cause__, OSError):
                self._stamp = before
            if stamp != self._complained:
                log("keys_refused", level=logging.ERROR, reason=str(error), keys=len(self._keys))
            self._complained = stamp
        else:
            log("keys_read", keys=len(self._keys))
            self._complained = stamp
        finally:
            self._reading.release()

    def _stat(self) -> _Stamp | None:
        try:
            status = os.stat(self._path)  # noqa: PTH116 - a third of Path.stat's time, at each request
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns
