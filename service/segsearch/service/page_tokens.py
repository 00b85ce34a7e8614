"""Page tokens: where a list goes on, in a text that a client can keep and nobody else can make.

Where it stands: `index.paging` says what a bookmark is; an edge writes tokens into answers and reads them in requests.
A token is a bookmark and a keyed BLAKE2b over it and over the question it belongs to. The key lies in the index
directory, is made by the first process that needs it, and is shared by all that serve the directory.
"""

import base64
import binascii
import hashlib
import hmac
import logging
import os
import secrets
import struct
import tempfile
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from segsearch.core.errors import InvalidPageToken
from segsearch.core.files import sync_directory
from segsearch.service.events import log
from segsearch.service.index.paging import Bookmark

KEY_FILE: Final = "tokens.key"  # in the index directory
KEY_BYTES: Final = 32
_VERSION: Final = 1
_BOOKMARK: Final = struct.Struct(">BQQIHQQ")  # version, then a bookmark's fields in order
_MAC_BYTES: Final = 32
_TOKEN_LIMIT: Final = 200  # characters; ours have 95


def question_of(tag: str, min_score: float, per_video: int | None) -> bytes:
    """What must be the same on every page of a list, whichever edge is asked; how long a page is may differ."""
    return repr((tag, float(np.float32(min_score)), per_video)).encode()  # gRPC has it in 32 bits, and scores are so


class PageTokens:
    """Signs and reads the tokens of one index directory. Methods may be called from any number of threads."""

    def __init__(self, root: Path):
        """root: the index directory; nothing is read or written before a token is needed."""
        self._root = root

    def seal(self, bookmark: Bookmark, question: bytes) -> str:
        """The token for a bookmark in the answer to a question."""
        packed = _BOOKMARK.pack(
            _VERSION, bookmark.generation, bookmark.sequence, bookmark.seen, bookmark.code, bookmark.upload,
            bookmark.row,
        )  # fmt: skip
        return base64.urlsafe_b64encode(packed + self._mac(packed, question)).rstrip(b"=").decode()

    def open(self, token: str, question: bytes, field: str = "query.page_token") -> Bookmark:
        """The bookmark of a token; raises InvalidPageToken unless `seal` made it for this question."""
        content = _decoded(token)
        packed, mac = content[: _BOOKMARK.size], content[_BOOKMARK.size :]
        if len(mac) != _MAC_BYTES or not hmac.compare_digest(mac, self._mac(packed, question)):
            raise InvalidPageToken(field)
        version, *values = _BOOKMARK.unpack(packed)
        if version != _VERSION:
            raise InvalidPageToken(field)
        return Bookmark(*values)

    def _mac(self, packed: bytes, question: bytes) -> bytes:
        # Not an HMAC of OpenSSL's, which takes as long as writing half of a short answer.
        return hashlib.blake2b(packed + question, key=self._key, digest_size=_MAC_BYTES).digest()

    @cached_property
    def _key(self) -> bytes:
        try:
            return _shared_key(self._root / KEY_FILE)
        except OSError as error:
            # A directory that cannot be written is served all the same: only other processes don't know its tokens.
            log("page_tokens_not_shared", level=logging.WARNING, reason=str(error))
            return secrets.token_bytes(KEY_BYTES)


def _decoded(token: str) -> bytes:
    if len(token) > _TOKEN_LIMIT:
        return b""
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):  # ValueError: letters beyond ASCII
        return b""


def _shared_key(path: Path) -> bytes:
    """The key in the file; of several processes that find none, one makes it. Raises OSError."""
    if not path.exists():
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".tokens-") as beside:  # for its owner alone: 0600
            beside.write(secrets.token_bytes(KEY_BYTES))
            beside.flush()
            os.fsync(beside.fileno())
            with suppress(FileExistsError):
                path.hardlink_to(beside.name)
        sync_directory(path.parent)
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise OSError(f"{path} holds {len(key)} bytes, wanted {KEY_BYTES}")
    return key
