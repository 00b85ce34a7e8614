"""Score matrices: what a network says of every segment of some videos, as 16-bit codes with a segment table, one file.

Where it stands: training writes one for each fold's held-out videos, and `segsearch score-matrix` one for any shards;
ensembles and second levels read them there, and `segsearch index from-matrices` makes a generation of them.

One .npz whose members are stored as they are, so that `codes` can be mapped and `numpy.load` reads the rest:

    about           text   JSON, the fields of `About` and `format_version`
    label_indices   (C,) int64    the label index of each column, in the vocabulary's order
    video_ids       (V,) text     in the order in which the shards have them
    segment_videos  (N,) uint32   each segment's row in video_ids; rising
    segment_starts  (N,) uint32   its first frame; rising within a video
    codes           (N, C) uint16 logit codes (`core.score_codes`)

N segments of V videos, C classes.
"""

import dataclasses
import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from segsearch.core.errors import MatrixRefused
from segsearch.core.files import writing_atomically
from segsearch.core.vocabulary import Vocabulary

FORMAT_VERSION = 1
_TABLE = ("label_indices", "video_ids", "segment_videos", "segment_starts")
_CODES = "codes.npy"
_PIECE_BYTES = 1 << 20
_BEGINNING = (1980, 1, 1, 0, 0, 0)  # same scores, same bytes: no clock in the file


class VideoScores(NamedTuple):
    """One video's part of a matrix, S segments."""

    video_id: str
    starts: np.ndarray  # (S,) int64, rising
    codes: np.ndarray  # (S, C) uint16


@dataclass(frozen=True, kw_only=True)
class About:
    """Where a matrix comes from: enough to refuse it where it does not belong."""

    run: str
    stage: str
    checkpoint: str  # SHA-256 of checkpoint.json, which has the weights' own
    fold: int | None  # the fold that the network's training held out; None: it held out nothing
    vocabulary_digest: str
    feature_space: str
    context_frames: int
    shift: int  # scores are means over windows shifted by up to so many frames; 0: as they stand
    shards: tuple[str, ...]  # names of the files that were scored
    trained_on: tuple[str, ...]  # names of the rated shards that the network learned from

    @property
    def held_out(self) -> bool:
        """Whether the network has seen none of these shards' ratings."""
        return not set(self.shards) & set(self.trained_on)


@dataclass(frozen=True, eq=False)
class ScoreMatrix:
    """A matrix as it lies on disk: the table in memory, the codes mapped."""

    path: Path
    about: About
    label_indices: np.ndarray  # (C,) int64
    video_ids: np.ndarray  # (V,) text
    segment_videos: np.ndarray  # (N,) uint32
    segment_starts: np.ndarray  # (N,) uint32
    codes: np.ndarray  # (N, C) uint16, read-only

    @classmethod
    def open(cls, path: Path) -> "ScoreMatrix":
        """Maps a matrix; raises MatrixRefused for what `write_score_matrix` did not write."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                table = {name: arrays[name] for name in _TABLE}
                document: dict[str, Any] = json.loads(str(arrays["about"]))
            if document.pop("format_version") != FORMAT_VERSION:
                raise ValueError("another format version")
            fields: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in document.items()
            }
            matrix = cls(path=path, about=About(**fields), codes=_mapped(path, _CODES), **table)
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
            wanted = f"a score matrix of format {FORMAT_VERSION}"
            raise MatrixRefused(path, f"{type(error).__name__}: {error}", wanted) from None
        shape = (len(matrix.segment_starts), len(matrix.label_indices))
        if matrix.codes.shape != shape or matrix.codes.dtype != np.uint16:
            raise MatrixRefused(path, f"codes {matrix.codes.dtype} of shape {matrix.codes.shape}", f"uint16 {shape}")
        rows = matrix.segment_videos
        if len(rows) != shape[0] or (rows >= len(matrix.video_ids)).any():
            raise MatrixRefused(
                path, f"a table of {len(rows)} rows", f"one row a segment ({shape[0]}), each of a video"
            )
        return matrix

    def verify(self) -> None:
        """Reads all codes, against their CRC32; raises MatrixRefused. The table was checked on opening."""
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(_CODES) as member:
                while member.read(_PIECE_BYTES):
                    pass
        except (OSError, zipfile.BadZipFile) as error:
            raise MatrixRefused(self.path, f"{_CODES}: {error}", "codes as they were written") from None

    def __len__(self) -> int:
        return len(self.segment_videos)

    @cached_property
    def table_digest(self) -> str:
        """SHA-256 of the segment table: matrices that share it have the same segments in the same rows."""
        digest = hashlib.sha256("\n".join(self.video_ids.tolist()).encode())
        for column in (self.segment_videos, self.segment_starts):
            digest.update(np.ascontiguousarray(column, "<u4").tobytes())
        return digest.hexdigest()

    def rows_of(self, segments: Sequence[tuple[str, int]]) -> np.ndarray:
        """(S,) int64: the row of each segment, video id and start; raises MatrixRefused at one that is not here."""
        starts = self.segment_starts.tolist()
        videos = self.video_ids[self.segment_videos].tolist()
        row_of = {segment: row for row, segment in enumerate(zip(videos, starts, strict=True))}
        missing = next((segment for segment in segments if segment not in row_of), None)
        if missing is not None:
            raise MatrixRefused(self.path, f"no segment {missing[0]}:{missing[1]}", "every segment that is asked for")
        return np.array([row_of[segment] for segment in segments], np.int64)


def write_score_matrix(path: Path, about: About, vocabulary: Vocabulary, videos: Iterable[VideoScores]) -> int:
    """Writes videos as they come, whatever their number, and returns how many segments; `path` appears whole.

    Raises MatrixRefused at a video that comes twice: its segments would have two rows.
    """
    row_of: dict[str, int] = {}
    starts: list[np.ndarray] = []
    with tempfile.TemporaryFile(dir=path.parent) as rows:
        for video in videos:
            if video.video_id in row_of:
                raise MatrixRefused(path, f"video {video.video_id} a second time", "each video once")
            row_of[video.video_id] = len(row_of)
            starts.append(video.starts)
            rows.write(np.ascontiguousarray(video.codes, "<u2").tobytes())
        counts = [len(part) for part in starts]
        shape = (sum(counts), len(vocabulary))
        document = {"format_version": FORMAT_VERSION, **dataclasses.asdict(about)}
        small = {
            "about": np.array(json.dumps(document)),
            "label_indices": np.array([entry.label_index for entry in vocabulary.entries], np.int64),
            "video_ids": np.array(list(row_of), np.str_),
            "segment_videos": np.repeat(np.arange(len(row_of), dtype=np.uint32), counts),
            "segment_starts": np.concatenate([*starts, np.empty(0, np.int64)]).astype(np.uint32),
        }
        rows.seek(0)
        with writing_atomically(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, array in small.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy", _BEGINNING), "w") as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
            with archive.open(zipfile.ZipInfo(_CODES, _BEGINNING), "w", force_zip64=True) as member:
                header = {"descr": "<u2", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_2_0(member, header)
                shutil.copyfileobj(rows, member, _PIECE_BYTES)
    return shape[0]


def check_same_segments(first: ScoreMatrix, other: ScoreMatrix) -> None:
    """Raises MatrixRefused unless both have the same segments in the same rows, classes, and feature space."""
    for name in ("vocabulary_digest", "feature_space"):
        found, wanted = getattr(other.about, name), getattr(first.about, name)
        if found != wanted:
            raise MatrixRefused(other.path, f"{name} {found}", f"{wanted}, as {first.path} has")
    if not np.array_equal(other.label_indices, first.label_indices):
        raise MatrixRefused(other.path, "other classes", f"those of {first.path}")
    if other.table_digest != first.table_digest:
        raise MatrixRefused(other.path, "another segment table", f"that of {first.path}")


def _mapped(path: Path, name: str) -> np.ndarray:
    """A stored member of an .npz as a read-only view on the file's pages."""
    with zipfile.ZipFile(path) as archive, archive.open(name) as member:
        start = _data_offset(path, archive.getinfo(name))
        version = np.lib.format.read_magic(member)
        read_header: Any = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = read_header[version](member)
        start += member.tell()
    if 0 not in shape:
        return np.memmap(path, dtype, "r", start, shape)
    return np.empty(shape, dtype)  # nothing can be mapped


def _data_offset(path: Path, member: zipfile.ZipInfo) -> int:
    """Where a member's bytes start, which only its local header tells."""
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member.filename} is compressed")
    with path.open("rb") as file:
        file.seek(member.header_offset + 26)
        lengths = np.frombuffer(file.read(4), "<u2")  # of the name and of what follows it
    return member.header_offset + 30 + int(lengths.sum())
