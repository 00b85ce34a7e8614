"""What a model said of one shard's segments, in one file: a finished piece of a reindex.

Where it stands: `shard_scoring` writes one in whatever process scores the shard, `assembly` reads all of them in order.
The file appears whole or not at all.

On disk: blocks one behind the other, each of score codes, class after class, and embeddings where they are kept; a
table as JSON (videos, what was skipped, each block's width and xxh3); the table's length and xxh3, and a mark.

C classes, S segments of a block, H embedding size, 0 where none are kept.
"""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
import xxhash

from segsearch.core.errors import BadRecord, BadShard, DataError
from segsearch.core.files import writing_atomically
from segsearch.core.segments import segment_count
from segsearch.core.videos import Skips
from segsearch.service.index.format import EMBEDDINGS_DTYPE

FORMAT_VERSION: Final = 1

_CODES: Final = np.dtype("<u2")
_TAIL: Final = struct.Struct("<QQ8s")  # length and xxh3 of the table, mark
_MARK: Final = b"SgScores"


class ScoredVideo(NamedTuple):
    """One video of a shard."""

    place: int  # its record number; of a live video, its sequence number
    id: str
    frame_count: int


class Block(NamedTuple):
    """Where score codes (C, S) uint16 and embeddings (S, H) float16 lie is known from the widths before."""

    width: int  # S
    xxh3: str


@dataclass(slots=True)
class ShardScoresWriter:
    """Appends blocks, then the table."""

    file: BinaryIO
    class_count: int
    embedding_size: int = 0
    blocks: list[Block] = field(default_factory=list)

    def add(self, codes: np.ndarray, embeddings: np.ndarray | None = None) -> None:
        """codes: (C, S) uint16, of the next S segments. embeddings: (S, H) as `vectors.packed` makes them."""
        content = np.ascontiguousarray(codes, _CODES).tobytes()
        if embeddings is not None:
            content += np.ascontiguousarray(embeddings, EMBEDDINGS_DTYPE).tobytes()
        self.blocks.append(Block(codes.shape[1], xxhash.xxh3_64_hexdigest(content)))
        self.file.write(content)

    def finish(self, videos: Sequence[ScoredVideo], skips: Skips) -> None:
        """videos: all whose segments were added, in their order."""
        document = {
            "format_version": FORMAT_VERSION, "classes": self.class_count, "embedding_size": self.embedding_size,
            "videos": videos, "blocks": self.blocks,
            "skipped": [_document_of(error) for error in skips.errors],
        }  # fmt: skip
        table = json.dumps(document).encode()
        self.file.write(table + _TAIL.pack(len(table), xxhash.xxh3_64_intdigest(table), _MARK))


@contextmanager
def writing_shard_scores(path: Path, class_count: int, embedding_size: int = 0) -> Iterator[ShardScoresWriter]:
    """A writer for a new file at `path`, which is there for good when the block ends; an error leaves none."""
    try:
        with writing_atomically(path) as file:
            yield ShardScoresWriter(file, class_count, embedding_size)
    except OSError as error:
        if error.filename is None and error.errno is not None:  # a full disk does not say where
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


@dataclass(frozen=True, slots=True, eq=False)
class ShardScores:
    """A finished piece, its table in memory and its codes on disk."""

    path: Path
    class_count: int
    embedding_size: int
    videos: tuple[ScoredVideo, ...]
    blocks: tuple[Block, ...]
    skips: Skips

    @classmethod
    def open(cls, path: Path) -> "ShardScores":
        """Reads the table; raises DataError for a file that is not what was written, OSError for none."""
        with path.open("rb") as file:
            document = _table(path, file)
        try:
            opened = cls(
                path,
                int(document["classes"]),
                int(document.get("embedding_size", 0)),
                tuple(ScoredVideo(*video) for video in document["videos"]),
                tuple(Block(*block) for block in document["blocks"]),
                Skips([_error_of(skipped) for skipped in document["skipped"]]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(path, "table", f"{type(error).__name__} {error}", "the fields of a table") from None
        if opened.segment_count != sum(block.width for block in opened.blocks):
            raise _damaged(path, "blocks", "another number of segments", f"{opened.segment_count} as its videos have")
        return opened

    @property
    def segment_count(self) -> int:
        return sum(segment_count(video.frame_count) for video in self.videos)

    @property
    def record_count(self) -> int:
        """Records that were read or skipped."""
        return len(self.videos) + len(self.skips)

    def codes(self) -> Iterator[np.ndarray]:
        """Score codes (C, S) uint16, a block at a time, each proved before it is handed out; raises DataError."""
        for codes, _ in self.contents():
            yield codes

    def contents(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The same with embeddings (S, H) float16."""
        classes, size = self.class_count, self.embedding_size
        sizes = classes * _CODES.itemsize, size * EMBEDDINGS_DTYPE.itemsize  # of a segment's
        with self.path.open("rb") as file:
            for number, block in enumerate(self.blocks):
                content = file.read(sum(sizes) * block.width)
                if (found := xxhash.xxh3_64_hexdigest(content)) != block.xxh3:
                    raise _damaged(self.path, f"block {number}", f"xxh3 {found}", f"{block.xxh3} as written")
                codes, embeddings = np.split(np.frombuffer(content, np.uint8), [sizes[0] * block.width])
                yield (
                    codes.view(_CODES).reshape(classes, block.width),
                    embeddings.view(EMBEDDINGS_DTYPE).reshape(block.width, size),
                )

    def verify(self) -> None:
        """Reads everything; raises DataError at the first fault."""
        for _ in self.codes():
            pass


def _table(path: Path, file: BinaryIO) -> Any:
    size = file.seek(0, 2)
    file.seek(max(0, size - _TAIL.size))
    tail = file.read(_TAIL.size)
    if len(tail) < _TAIL.size or not tail.endswith(_MARK):
        raise _damaged(path, "end", f"no mark at its {size} bytes", f"{_MARK.decode()} at the end")
    length, wanted, _ = _TAIL.unpack(tail)
    file.seek(max(0, size - _TAIL.size - length))
    table = file.read(min(length, size))
    if (found := xxhash.xxh3_64_intdigest(table)) != wanted:
        raise _damaged(path, "table", f"xxh3 {found:016x}", f"{wanted:016x} as written")
    return json.loads(table)


def _document_of(error: BadRecord | BadShard) -> Mapping[str, Any]:
    facts = {"record": error.record, "field": error.field, "found": error.found, "wanted": error.wanted}
    unread = {"unread_bytes": error.unread_bytes} if isinstance(error, BadShard) else {}
    return {"path": str(error.path), **facts, **unread}


def _error_of(document: Mapping[str, Any]) -> BadRecord | BadShard:
    return BadShard(**document) if "unread_bytes" in document else BadRecord(**document)


def _damaged(path: Path, part: str, found: str, wanted: str) -> DataError:
    return DataError(path, None, part, found, f"{wanted}; the next reindex scores its shard again")
