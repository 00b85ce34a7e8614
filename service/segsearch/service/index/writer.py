"""Write side of a generation: appends to the files of one directory, then seals them with a manifest.

Where it stands: the reindex job feeds it, `index_directory` publishes what it leaves, `generation` reads it.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import numpy as np

from segsearch.core.errors import ConfigError
from segsearch.core.vocabulary import Vocabulary
from segsearch.service.index.array_file import ArrayWriter, map_array
from segsearch.service.index.format import (
    ARRAYS,
    CODES,
    EMBEDDINGS,
    EMBEDDINGS_DTYPE,
    FILES,
    OFFSETS,
    ORDINALS,
    SCORES,
    SCORES_DTYPE,
    SEGMENT_CAP,
    SEGMENT_STARTS,
    SEGMENT_VIDEOS,
    VIDEO_ID_OFFSETS,
    VIDEO_IDS,
    VOCABULARY,
)  # fmt: skip
from segsearch.service.index.manifest import Blend, BundleName, FileSum, Manifest, NeighbourIndex, Skipped
from segsearch.service.index.neighbour_building import build


@dataclass(frozen=True, slots=True)
class Origin:
    """What a generation is made from."""

    bundle: BundleName
    feature_space: str
    vocabulary: Vocabulary
    blend: Blend | None = None
    live_sequence: int = 0  # of the last upload or deletion that is in it


class GenerationWriter:
    """First every video, in ordinal order; then every class's postings; then `seal`. Memory does not grow with N."""

    def __init__(
        self, directory: Path, origin: Origin, limit: int, *, scores: bool = False, embedding_size: int | None = None
    ):
        """scores: every segment's score codes are kept too, as `add_scores` brings them. embedding_size: of embeddings
        that are kept too, as `add_embeddings` brings them; None keeps none.
        """
        self.directory, self.origin, self.limit = directory, origin, limit
        self.video_count = 0
        with ExitStack() as stack:
            self._files = {
                name: stack.enter_context(ArrayWriter(directory / name, dtype)) for name, dtype in ARRAYS.items()
            }
            if scores:
                row = (len(origin.vocabulary),)
                self._files[SCORES] = stack.enter_context(ArrayWriter(directory / SCORES, SCORES_DTYPE, row))
            if embedding_size is not None:
                file = ArrayWriter(directory / EMBEDDINGS, EMBEDDINGS_DTYPE, (embedding_size,))
                self._files[EMBEDDINGS] = stack.enter_context(file)
            self._open = stack.pop_all()
        self._embedding_size = embedding_size
        for name in (OFFSETS, VIDEO_ID_OFFSETS):
            self._files[name].append(np.zeros(1, np.uint64))

    def __enter__(self) -> "GenerationWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    @property
    def segment_count(self) -> int:
        return self._files[SEGMENT_VIDEOS].length

    def add_video(self, video_id: str, starts: np.ndarray) -> None:
        """The next video: its segments, given by start frame (S,), get the next S ordinals."""
        if self.segment_count + len(starts) > SEGMENT_CAP:
            raise ConfigError("segments of one index", self.segment_count + len(starts), f"at most {SEGMENT_CAP}")
        self._files[SEGMENT_VIDEOS].append(np.full(len(starts), self.video_count, np.uint32))
        self._files[SEGMENT_STARTS].append(starts)
        self._files[VIDEO_IDS].append(np.frombuffer(video_id.encode(), np.uint8))
        self._files[VIDEO_ID_OFFSETS].append(np.array([self._files[VIDEO_IDS].length], np.uint64))
        self.video_count += 1

    @property
    def keeps_scores(self) -> bool:
        return SCORES in self._files

    def add_scores(self, codes: np.ndarray) -> None:
        """codes: (S, C) uint16, of the next S segments in ordinal order."""
        self._files[SCORES].append(codes)

    @property
    def keeps_embeddings(self) -> bool:
        return EMBEDDINGS in self._files

    def add_embeddings(self, embeddings: np.ndarray) -> None:
        """embeddings: (S, H) as `vectors.packed` makes them, of the next S segments in ordinal order."""
        self._files[EMBEDDINGS].append(embeddings)

    def add_postings(self, ordinals: np.ndarray, codes: np.ndarray) -> None:
        """The next class's list, best first: ordinals (k,) uint32, codes (k,) uint16."""
        self._files[ORDINALS].append(ordinals)
        self._files[CODES].append(codes)
        self._files[OFFSETS].append(np.array([self._files[ORDINALS].length], np.uint64))

    def seal(self, number: int, skipped: Skipped) -> Manifest:
        """Closes the files, makes what finds neighbours, and writes the manifest that vouches for all of them; nothing
        can be added any more."""
        lengths = {name: file.length for name, file in self._files.items()}
        self._open.close()
        neighbours = self._neighbours(lengths[SEGMENT_VIDEOS])
        more = (*([SCORES] if self.keeps_scores else ()), *(neighbours.files if neighbours else ()))
        vocabulary = self.origin.vocabulary
        (self.directory / VOCABULARY).write_text(vocabulary.to_csv(), encoding="utf-8")
        manifest = Manifest(
            number=number,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            bundle=self.origin.bundle,
            feature_space=self.origin.feature_space,
            vocabulary_digest=vocabulary.digest,
            class_count=len(vocabulary),
            video_count=self.video_count,
            segment_count=lengths[SEGMENT_VIDEOS],
            posting_count=lengths[ORDINALS],
            id_bytes=lengths[VIDEO_IDS],
            limit=self.limit,
            skipped=skipped,
            blend=self.origin.blend,
            live_sequence=self.origin.live_sequence,
            files={name: FileSum.of(self.directory / name) for name in (*FILES, *more)},
            neighbours=neighbours,
        )
        manifest.write(self.directory)
        return manifest

    def _neighbours(self, segment_count: int) -> NeighbourIndex | None:
        if self._embedding_size is None:
            return None
        shape = (segment_count, self._embedding_size)
        return build(self.directory, map_array(self.directory / EMBEDDINGS, EMBEDDINGS_DTYPE, shape))
