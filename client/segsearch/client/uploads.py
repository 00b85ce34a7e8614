"""What is sent to be scored: an array, a file, or one video of a shard, as bytes that can be had again and again.

Where it stands: `calls` puts an upload into a call, `rest` sends its chunks. A call that is repeated reads them anew; a
file or an array is never copied whole.

T frames, F codes a frame.
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from segsearch.core.errors import BadRecord, InvalidInput
from segsearch.core.records import read_records
from segsearch.core.videos import Video, parse_annotations

CHUNK_BYTES: Final = 1 << 20
UNNAMED: Final = "upload"  # what the service calls a video without a name
_NPY: Final = "application/x-npy"
_FILES: Final = {".npy": _NPY, ".npz": "application/x-npz"}
SHARD: Final = ".tfrecord"


@dataclass(frozen=True, slots=True, eq=False)
class Upload:
    """One video as a request's body."""

    content_type: str
    size_bytes: int
    chunks: Callable[[], Iterator[bytes]]  # all of it, from the beginning
    video_id: str | None = None  # None: nameless
    names_itself: bool = False  # the body holds the id, and the query must not
    frames: Callable[[], np.ndarray] | None = None  # (T, F) uint8 of the same, unless only the service can tell

    @property
    def name(self) -> str:
        """What the service calls it."""
        return self.video_id or UNNAMED

    def body(self) -> Iterator[bytes]:
        """The chunks; raises InvalidInput where they are not as long as was announced, as of a file that changes."""
        sent_bytes = 0
        for chunk in self.chunks():
            sent_bytes += len(chunk)
            if sent_bytes > self.size_bytes:
                break
            yield chunk
        if sent_bytes != self.size_bytes:
            raise InvalidInput("source", f"{sent_bytes} bytes", f"{self.size_bytes}, as at the beginning")

    def rows(self) -> Iterator[bytes]:
        """The frames alone, whole ones in each piece; raises InvalidInput where only the service could read them."""
        if self.frames is None:
            raise InvalidInput("source", self.content_type, "an array, a .npy file or a video that was read")
        return _rows(self.frames())


Source = np.ndarray | str | Path | Video | Upload  # frames (T, F) uint8; a file; a video read from a shard


def upload_of(source: Source, video_id: str | None = None) -> Upload:
    """The upload of frames (T, F) uint8, of a `.npy` or `.npz` file, or of the video of that id in a `.tfrecord` shard.

    Raises InvalidInput for what cannot be sent, BadRecord or BadShard for a damaged shard.
    """
    if isinstance(source, Upload | Video) and video_id is not None:
        raise InvalidInput("video_id", "given beside a source that names its video", "one name")
    if isinstance(source, Upload):
        return source
    if isinstance(source, Video):
        return _of_frames(source.frames, source.id)
    if isinstance(source, np.ndarray):
        return _of_frames(source, video_id)
    path = Path(source)
    if path.suffix == SHARD:
        return _found(path, video_id)
    if path.suffix not in _FILES:
        raise InvalidInput("source", f"a file *{path.suffix}", f"one of {', '.join([*_FILES, SHARD])}")
    mapped = partial(_mapped, path) if _FILES[path.suffix] == _NPY else None
    return Upload(_FILES[path.suffix], path.stat().st_size, partial(_file_chunks, path), video_id, frames=mapped)


def uploads_in(shard: str | Path) -> Iterator[Upload]:
    """Every video of a TFRecord shard as it lies there; raises BadRecord or BadShard."""
    for number, payload in enumerate(read_records(Path(shard))):
        if isinstance(payload, BadRecord):
            raise payload
        try:
            video_id = parse_annotations(payload).id
        except InvalidInput as error:
            raise BadRecord(Path(shard), number, error.field, error.found, error.wanted) from None
        yield Upload(
            "application/x-protobuf", len(payload), partial(_whole, payload), video_id, names_itself=True
        )  # fmt: skip


def _found(shard: Path, video_id: str | None) -> Upload:
    """The shard's video of that id; of a shard that holds a single one, that one."""
    uploads = uploads_in(shard)
    if video_id is not None:
        for upload in uploads:
            if upload.video_id == video_id:
                return upload
        raise InvalidInput("video_id", repr(video_id[:80]), f"a video of {shard}")
    first, second = next(uploads, None), next(uploads, None)
    if first is None or second is not None:
        raise InvalidInput("video_id", "none", f"which video of {shard} is meant, as it does not hold exactly one")
    return first


def _checked(frames: np.ndarray) -> np.ndarray:
    if frames.dtype != np.uint8 or frames.ndim != 2 or not frames.size:
        raise InvalidInput("frames", f"{frames.dtype} of shape {frames.shape}", "uint8 (frames, codes a frame)")
    return frames


def _mapped(path: Path) -> np.ndarray:
    """The array of a `.npy` file, of which only what is sent is read."""
    try:
        return _checked(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, EOFError) as error:
        raise InvalidInput("source", f"{path} is no array ({error})", "a .npy file") from None


def _of_frames(frames: np.ndarray, video_id: str | None) -> Upload:
    _checked(frames)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": frames.dtype.str, "fortran_order": False, "shape": frames.shape}
    )
    size_bytes = header.tell() + frames.size
    chunks = partial(_array_chunks, header.getvalue(), frames)
    return Upload(_NPY, size_bytes, chunks, video_id, frames=lambda: frames)


def _array_chunks(header: bytes, frames: np.ndarray) -> Iterator[bytes]:
    """A `.npy` file of frames (T, F), whatever their layout in memory; only a chunk of rows is copied at a time."""
    yield header
    yield from _rows(frames)


def _rows(frames: np.ndarray) -> Iterator[bytes]:
    rows = max(1, CHUNK_BYTES // frames.shape[1])
    for first in range(0, len(frames), rows):
        yield frames[first : first + rows].tobytes()


def _file_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _whole(payload: bytes) -> Iterator[bytes]:
    yield payload
