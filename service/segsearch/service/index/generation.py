"""Read side of one immutable index generation: every class's postings, and the segments they name.

Where it stands: `writer` makes the directory, this file maps it, `library` answers from it. Nothing here writes, locks
or knows about HTTP. A generation that was opened stays readable even if its directory is removed.

C classes, P postings, N segments, V videos; n and k are lengths of what was asked.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np

from segsearch.core.errors import DataError, GenerationCorrupt
from segsearch.core.segments import SEGMENT_FRAMES
from segsearch.core.vocabulary import ClassOrdinal, Vocabulary
from segsearch.service.index.array_file import map_array
from segsearch.service.index.format import (
    ARRAYS,
    CODES,
    EMBEDDINGS,
    EMBEDDINGS_DTYPE,
    MANIFEST,
    OFFSETS,
    ORDINALS,
    SCORES,
    SCORES_DTYPE,
    SEGMENT_STARTS,
    SEGMENT_VIDEOS,
    VIDEO_ID_OFFSETS,
    VIDEO_IDS,
    VOCABULARY,
)  # fmt: skip
from segsearch.service.index.in_use import Hold
from segsearch.service.index.manifest import FileSum, Manifest
from segsearch.service.index.neighbours import Neighbours
from segsearch.service.index.video_ids import VideoIds

_TABLES = (SEGMENT_VIDEOS, SEGMENT_STARTS, VIDEO_IDS, VIDEO_ID_OFFSETS)  # the best of a class lie all over them
_VOCABULARIES = 4  # kept parsed
_CHECK_ROWS = 1 << 22  # rows of a mapped array looked at together


@dataclass(frozen=True, eq=False)
class Generation:
    """One opened generation."""

    directory: Path
    manifest: Manifest
    vocabulary: Vocabulary
    offsets: np.ndarray  # (C + 1,) u64; class c owns rows offsets[c]:offsets[c + 1]
    ordinals: np.ndarray  # (P,) u32 segment ordinals, best score first within a class
    codes: np.ndarray  # (P,) u16 score codes, same order
    segment_videos: np.ndarray  # (N,) u32, rising
    segment_starts: np.ndarray  # (N,) u32
    id_bytes: np.ndarray  # (B,) u8
    id_offsets: np.ndarray  # (V + 1,) u64
    held: Hold  # says that the generation is read, see `in_use`
    scores: np.ndarray | None = None  # (N, C) u16, where the generation keeps them
    neighbours: Neighbours | None = None  # where it keeps embeddings

    @classmethod
    def open(cls, directory: Path) -> "Generation":
        """Maps the files; the cost does not grow with N.

        Raises GenerationCorrupt naming the file whose size, shape or dtype is not what the manifest says, and where
        files contradict each other. Damage inside the arrays is found by `verify`.
        """
        try:
            held = Hold(directory)
        except OSError as error:
            raise GenerationCorrupt(directory, f"{MANIFEST} cannot be read: {error.strerror}") from None
        manifest = Manifest.read(directory)
        _check_sizes(directory, manifest)
        lengths = _lengths(manifest)
        arrays = {name: _map(directory, name, dtype, (lengths[name],)) for name, dtype in ARRAYS.items()}
        shape = (manifest.segment_count, manifest.class_count)
        scores = _map(directory, SCORES, SCORES_DTYPE, shape) if SCORES in manifest.files else None
        generation = cls(
            directory, manifest, _vocabulary(directory, manifest), arrays[OFFSETS], arrays[ORDINALS], arrays[CODES],
            arrays[SEGMENT_VIDEOS], arrays[SEGMENT_STARTS], arrays[VIDEO_IDS], arrays[VIDEO_ID_OFFSETS],
            held, scores, _neighbours(directory, manifest),
        )  # fmt: skip
        _check_offsets(directory, OFFSETS, generation.offsets, manifest.posting_count)
        for end, wanted in ((0, 0), (-1, manifest.id_bytes)):
            if generation.id_offsets[end] != wanted:
                found = generation.id_offsets[end]
                raise GenerationCorrupt(directory, f"{VIDEO_ID_OFFSETS} ends at {found}, wanted {wanted}")
        return generation

    @property
    def number(self) -> int:
        return self.manifest.number

    def verify(self, names: Collection[str] | None = None) -> None:
        """Reads everything: each file's xxh3, and that every reference lies in range. Raises GenerationCorrupt.

        Costs one pass over the files (seconds a gigabyte from a cold disk); done before a generation takes traffic.
        names: the files whose xxh3 is wanted, where not all are needed.
        """
        for name, wanted in self.manifest.files.items():
            if names is not None and name not in names:
                continue
            try:
                found = FileSum.of(self.directory / name)
            except OSError as error:
                raise GenerationCorrupt(self.directory, f"{name} cannot be read: {error.strerror}") from None
            if found != wanted:
                reason = f"{name} has xxh3 {found.xxh3}, wanted {wanted.xxh3}"
                raise GenerationCorrupt(self.directory, reason)
        # The checksums vouch for what was written; these catch a writer that wrote nonsense.
        _check_below(self.directory, ORDINALS, self.ordinals, self.manifest.segment_count)
        _check_below(self.directory, SEGMENT_VIDEOS, self.segment_videos, self.manifest.video_count)
        _check_offsets(self.directory, VIDEO_ID_OFFSETS, self.id_offsets, self.manifest.id_bytes)

    def posting_count(self, ordinal: ClassOrdinal) -> int:
        """How many segments this class's list holds."""
        return int(self.offsets[ordinal + 1] - self.offsets[ordinal])

    def postings(self, ordinal: ClassOrdinal, limit: int) -> tuple[np.ndarray, np.ndarray]:
        """The best `limit` postings of one class: ordinals (k,) u32 and codes (k,) u16, views on the mapped pages."""
        start, stop = self.offsets[ordinal : ordinal + 2].tolist()
        rows = slice(start, min(stop, start + limit))
        return self.ordinals[rows], self.codes[rows]

    def segments(self, ordinals: np.ndarray) -> tuple[list[str], np.ndarray]:
        """Video ids and start frames (n,) of segments, given as (n,) ordinals."""
        rows = ordinals.astype(np.intp)  # which each `take` would do for itself
        return self.video_ids(self.segment_videos.take(rows)), self.segment_starts.take(rows)

    def video_ids(self, videos: np.ndarray) -> list[str]:
        """The ids of videos, given as (n,) video ordinals."""
        return self._video_ids.of(videos)

    def video_ordinals(self, video_ids: Iterable[str]) -> np.ndarray:
        """(n,) int64: the video ordinals of those ids that are here."""
        found = (self._video_ordinals.get(video_id) for video_id in video_ids)
        return np.array([ordinal for ordinal in found if ordinal is not None], np.int64)

    def segments_of(self, video_id: str) -> np.ndarray:
        """(S,) int64: segment ordinals of one video, in time order; none where the video is not here."""
        video = self._video_ordinals.get(video_id)
        if video is None:
            return np.empty(0, np.int64)
        bounds = np.array([video, video + 1], self.segment_videos.dtype)
        return np.arange(*np.searchsorted(self.segment_videos, bounds))

    def ordinals_of(self, video_id: str, starts: np.ndarray) -> np.ndarray:
        """Segment ordinals (n,) int64 of one video's segments, given by start frame (n,); -1 where there is none."""
        own, rows = self.segments_of(video_id), np.asarray(starts, np.int64) // SEGMENT_FRAMES
        there = (starts >= 0) & (rows < len(own))
        return np.where(there, own[np.where(there, rows, 0)] if len(own) else -1, -1)

    @cached_property
    def _video_ids(self) -> VideoIds:
        return VideoIds(self.id_bytes, self.id_offsets)

    @cached_property
    def _video_ordinals(self) -> dict[str, int]:
        ids = self.video_ids(np.arange(self.manifest.video_count))
        return {video_id: ordinal for ordinal, video_id in enumerate(ids)}


def _lengths(manifest: Manifest) -> Mapping[str, int]:
    return {
        OFFSETS: manifest.class_count + 1,
        ORDINALS: manifest.posting_count,
        CODES: manifest.posting_count,
        SEGMENT_VIDEOS: manifest.segment_count,
        SEGMENT_STARTS: manifest.segment_count,
        VIDEO_IDS: manifest.id_bytes,
        VIDEO_ID_OFFSETS: manifest.video_count + 1,
    }


def _check_sizes(directory: Path, manifest: Manifest) -> None:
    for name, wanted in manifest.files.items():
        try:
            found = (directory / name).stat().st_size
        except OSError as error:
            raise GenerationCorrupt(directory, f"{name} cannot be read: {error.strerror}") from None
        if found != wanted.bytes:
            raise GenerationCorrupt(directory, f"{name} has {found} bytes, wanted {wanted.bytes}")


def _map(directory: Path, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    try:
        return map_array(directory / name, dtype, shape, ahead=name in _TABLES)
    except (OSError, ValueError) as error:
        raise GenerationCorrupt(directory, f"{name}: {error}") from None


def _neighbours(directory: Path, manifest: Manifest) -> Neighbours | None:
    if manifest.neighbours is None:
        return None
    shape = (manifest.segment_count, manifest.neighbours.embedding_size)
    return Neighbours(directory, manifest, _map(directory, EMBEDDINGS, EMBEDDINGS_DTYPE, shape))


def _vocabulary(directory: Path, manifest: Manifest) -> Vocabulary:
    try:
        content = (directory / VOCABULARY).read_bytes()
        vocabulary = _parsed(content)
    except OSError as error:
        raise GenerationCorrupt(directory, f"{VOCABULARY} cannot be read: {error.strerror}") from None
    except DataError as error:
        raise GenerationCorrupt(directory, f"{VOCABULARY}: {error.field} {error.found}") from None
    # Of a file as we write it the digest is the file's own; to write it anew takes as long as to read it.
    written = sha256(content).hexdigest()
    is_whole = written == manifest.vocabulary_digest or vocabulary.digest == manifest.vocabulary_digest
    if not is_whole or len(vocabulary) != manifest.class_count:
        raise GenerationCorrupt(directory, f"{VOCABULARY} does not have the digest and class count of the manifest")
    return vocabulary


@lru_cache(_VOCABULARIES)
def _parsed(content: bytes) -> Vocabulary:
    """Once for all generations that have it: parsing takes several times as long as the rest of opening one."""
    return Vocabulary.parsed(content, Path(VOCABULARY))


def _check_offsets(directory: Path, name: str, offsets: np.ndarray, end: int) -> None:
    if offsets[0] != 0 or offsets[-1] != end or (offsets[1:] < offsets[:-1]).any():
        raise GenerationCorrupt(directory, f"{name} does not rise from 0 to {end}")


def _check_below(directory: Path, name: str, values: np.ndarray, limit: int) -> None:
    for first in range(0, len(values), _CHECK_ROWS):
        highest = values[first : first + _CHECK_ROWS].max()
        if highest >= limit:
            raise GenerationCorrupt(directory, f"{name} refers to row {highest}, wanted below {limit}")
