"""One file over HTTP, whole: by Range where an earlier attempt stopped, checked by md5, tried again within bounds.

Where it stands: `download` knows which files there are and where; this file knows how one is brought. What has arrived
lies in `.<name>.part` beside the target, through failures and kills; the target appears when its md5 is right.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import TypeVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from segsearch.core.files import sync_directory
from segsearch.core.progress import say
from segsearch.training.errors import DownloadDamaged, DownloadFailed, DownloadRefused

TIMEOUT_S = 60.0  # without a byte
LONGEST_PAUSE_S = 30.0
PIECE_BYTES = 128 << 10

T = TypeVar("T")
Received = Callable[[int], None]  # received(byte_count)


@dataclass(frozen=True, slots=True)
class Transfer:
    """How patiently files are fetched: `retries` further attempts for each, `pause` waits the seconds between.

    Both methods raise DownloadRefused at once when the server will not give the file, DownloadDamaged when it is still
    another file at the last attempt, and DownloadFailed when nothing comes, or comes only in part, at the last attempt.
    """

    retries: int = 5
    pause: Callable[[float], None] = time.sleep

    def document(self, url: str, limit_bytes: int) -> bytes:
        """The content of a small file."""
        return self._tried(lambda: _read(url, limit_bytes))

    def file(self, url: str, md5: str, path: Path, received: Received) -> None:
        """Brings the file with this md5 to `path`; says how many bytes arrive as they do."""
        part = path.with_name(f".{path.name}.part")
        self._tried(lambda: _append(url, md5, part, received))
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
        sync_directory(path.parent)

    def _tried(self, attempt: Callable[[], T]) -> T:
        for tries in range(self.retries):
            try:
                return attempt()
            except DownloadRefused:
                raise
            except DownloadFailed as error:
                pause_s = min(2.0**tries, LONGEST_PAUSE_S)
                say(f"{error}; retry {tries + 1} of {self.retries} in {pause_s:.0f} s")
                self.pause(pause_s)
        return attempt()


def _append(url: str, md5: str, part: Path, received: Received) -> None:
    """One attempt to complete `part`; what arrived stays for the next one, unless it is the wrong bytes."""
    digest = md5_of_file(part) if part.exists() else md5_of()
    size = part.stat().st_size if part.exists() else 0
    if size and digest.hexdigest() == md5:  # the kill came between the last byte and the renaming
        return
    with _answer(url, size) as answer, part.open("ab") as file:
        start, total = _extent(answer)
        if start != size:  # the server knows no Range, or has nothing behind our bytes
            file.truncate(0)
            digest, size = md5_of(), 0
        for piece in _pieces(url, answer):
            file.write(piece)
            file.flush()  # a kill loses nothing that arrived
            digest.update(piece)
            size += len(piece)
            received(len(piece))
    if total is not None and size != total:
        raise DownloadFailed(url, f"the answer ends after {size} bytes", f"{total}")
    if digest.hexdigest() != md5:
        part.unlink()
        raise DownloadDamaged(url, f"{size} bytes with md5 {digest.hexdigest()}", f"md5 {md5}")


def _read(url: str, limit_bytes: int) -> bytes:
    content = bytearray()
    with _answer(url, 0) as answer:
        for piece in _pieces(url, answer):
            content += piece
            if len(content) > limit_bytes:
                raise DownloadRefused(url, f"more than {limit_bytes} bytes", f"{limit_bytes} at most")
        _, total = _extent(answer)
    if total is not None and len(content) != total:
        raise DownloadFailed(url, f"the answer ends after {len(content)} bytes", f"{total}")
    return bytes(content)


def _answer(url: str, start: int) -> HTTPResponse:
    """The file from byte `start` on, or from its first byte if the server can or will not skip."""
    request = Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        answer: HTTPResponse = urlopen(request, timeout=TIMEOUT_S)
    except HTTPError as error:
        error.close()
        if error.code == 416 and start:  # there is nothing behind our bytes, and they are not the file
            return _answer(url, 0)
        passing = error.code >= 500 or error.code in (408, 425, 429)
        kind = DownloadFailed if passing else DownloadRefused
        raise kind(url, f"HTTP {error.code} {error.reason}", "the file") from None
    except (OSError, HTTPException) as error:
        raise DownloadFailed(url, _trouble(error), "an answer") from None
    if start and _extent(answer)[0] not in (0, start):  # another range than we asked for
        answer.close()
        return _answer(url, 0)
    return answer


def _extent(answer: HTTPResponse) -> tuple[int, int | None]:
    """The byte that the answer starts with, and the size of the whole file if the server tells it."""
    if answer.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        return (int(match[1]), int(match[2]) if match[2] != "*" else None) if match else (-1, None)
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _pieces(url: str, answer: HTTPResponse) -> Iterator[bytes]:
    """The body as it comes. Only the line's errors become DownloadFailed: a full disk is no reason to try again."""
    try:
        while piece := answer.read(PIECE_BYTES):
            yield piece
    except (OSError, HTTPException) as error:
        raise DownloadFailed(url, _trouble(error), "the rest of the file") from None


def _trouble(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error  # urllib wraps what happened
    return str(reason) or type(error).__name__


def md5_of(content: bytes = b"") -> "hashlib._Hash":
    """A running md5, with `content` in it already."""
    return hashlib.md5(content, usedforsecurity=False)  # the data set's choice; it finds damage, not malice


def md5_of_file(path: Path) -> "hashlib._Hash":
    """The digest of a file's content, read in pieces; more can be added to it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, md5_of)
