"""The one domain object: a library of segments that can be searched by tag and scored into.

Where it stands: every edge (REST now, gRPC later) converts, calls one method here, and converts back. It holds a scorer
and the current generation; a generation that is published later takes over between two answers, never within one.

T frames, F codes a frame, S segments, C classes, k hits.
"""

import logging
import threading
from dataclasses import dataclass
from typing import Final

import numpy as np

from segsearch.core.errors import FeatureSpaceMismatch, NoGeneration, SegsearchError, VocabularyMismatch
from segsearch.core.vocabulary import Entry
from segsearch.service.events import log
from segsearch.service.index.format import POSTINGS_CAP
from segsearch.service.index.generation import Generation
from segsearch.service.index.index_directory import IndexDirectory, Stamp
from segsearch.service.index.manifest import Manifest
from segsearch.service.scoring.scorer import Scorer

SEARCH_LIMIT: Final = POSTINGS_CAP


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """The best segments for one tag, all from one generation."""

    tag: Entry
    generation: Manifest
    video_ids: list[str]  # k of them
    starts: np.ndarray  # (k,) u32, first frame
    codes: np.ndarray  # (k,) u16 score codes, falling


@dataclass(frozen=True, slots=True, eq=False)
class ScoredVideo:
    """Every segment of one video with its best tags."""

    starts: np.ndarray  # (S,) int64, first frame
    classes: np.ndarray  # (S, top) int64 class ordinals, best first; ties by smaller ordinal
    probabilities: np.ndarray  # (S, top) float32


@dataclass(frozen=True, slots=True)
class TagList:
    """Tags with the number of segments in each one's list, all from one generation."""

    generation: Manifest
    counts: list[tuple[Entry, int]]


class SegmentLibrary:
    """Searches and scores. Methods may be called from any number of threads."""

    def __init__(self, scorer: Scorer, index: IndexDirectory):
        """Opens and verifies the published generation; an index without one answers when one is published.

        Raises GenerationCorrupt, VocabularyMismatch or FeatureSpaceMismatch where an index cannot be served.
        """
        self.scorer, self.index = scorer, index
        self._refreshing = threading.Lock()
        self._seen: Stamp | None = index.stamp()
        self._generation: Generation | None = None
        try:
            self._generation = self._open()
        except NoGeneration:
            log("index_is_empty", level=logging.WARNING, index=index.root)

    def view(self) -> Generation:
        """The generation that answers now; whoever holds it may keep reading it after a switch.

        Notices by one stat that another was published, and has it opened and verified in the background, so that no
        query waits for that. Raises NoGeneration.
        """
        if self.index.stamp() != self._seen and self._refreshing.acquire(blocking=False):
            threading.Thread(target=self._refresh, name="refresh", daemon=True).start()
        generation = self._generation
        if generation is None:
            raise NoGeneration(self.index.root)
        return generation

    def refresh(self) -> None:
        """Switches to the published generation before it returns, if that can be served; see `view`."""
        with self._refreshing:
            self._switch()

    def search(self, tag: str, k: int) -> Page:
        """The k best segments that show `tag`: a name in any case, label index or knowledge-graph id.

        Raises UnknownTag with the nearest names, or NoGeneration. k: 1 to SEARCH_LIMIT.
        """
        generation = self.view()
        ordinal = generation.vocabulary.find(tag)
        ordinals, codes = generation.postings(ordinal, k)
        video_ids, starts = generation.segments(ordinals)
        return Page(generation.vocabulary[ordinal], generation.manifest, video_ids, starts, codes)

    def score(self, frames: np.ndarray, top: int) -> ScoredVideo:
        """The `top` best classes of every segment of a video: frames (T, F) uint8, T at least 1."""
        scores = self.scorer.score(frames)
        classes = best_classes(scores.probabilities, top)
        return ScoredVideo(scores.starts, classes, np.take_along_axis(scores.probabilities, classes, axis=1))

    def tags(self, prefix: str, limit: int) -> TagList:
        """Tags with a word that begins with `prefix`, those that themselves begin so first; raises NoGeneration."""
        generation = self.view()
        found = generation.vocabulary.starting_with(prefix, limit)
        counts = [(generation.vocabulary[ordinal], generation.posting_count(ordinal)) for ordinal in found]
        return TagList(generation.manifest, counts)

    def _refresh(self) -> None:
        """The background thread's work; its starter took the lock for it."""
        try:
            self._switch()
        finally:
            self._refreshing.release()

    def _switch(self) -> None:
        stamp = self.index.stamp()
        if stamp == self._seen:
            return
        self._seen = stamp  # before anything can go wrong: a generation is tried, and complained about, once
        try:
            generation = self._open()
        except (SegsearchError, OSError) as error:
            log("generation_refused", level=logging.ERROR, reason=str(error), serving=self._number())
        else:
            log("generation_switched", number=generation.number, before=self._number())
            self._generation = generation

    def _number(self) -> int | None:
        return self._generation.number if self._generation is not None else None

    def _open(self) -> Generation:
        generation = self.index.open_current()
        bundle, thing = self.scorer.bundle, f"generation {generation.directory}"
        if generation.vocabulary.digest != bundle.vocabulary.digest:
            raise VocabularyMismatch(
                thing, generation.vocabulary.digest, f"bundle {bundle.directory}", bundle.vocabulary.digest
            )
        if generation.manifest.feature_space != bundle.manifest.features.space:
            raise FeatureSpaceMismatch(thing, generation.manifest.feature_space, bundle.manifest.features.space)
        generation.verify()
        return generation


def best_classes(probabilities: np.ndarray, top: int) -> np.ndarray:
    """(S, top) class ordinals of the best probabilities of each row (S, C) float32, ties by smaller ordinal."""
    class_count = probabilities.shape[1]
    top = min(top, class_count)
    # As in index.selection: a float32 that is not negative sorts like its bits, and with the class below them no two
    # keys are equal, so that a partition has one right answer.
    bits = np.ascontiguousarray(probabilities + np.float32(0)).view(np.uint32).astype(np.uint64) << np.uint64(32)
    keys = bits | np.arange(class_count, dtype=np.uint64)[::-1]
    best = np.sort(np.partition(keys, class_count - top, axis=1)[:, class_count - top :], axis=1)[:, ::-1]
    classes: np.ndarray = class_count - 1 - (best & np.uint64(0xFFFFFFFF)).astype(np.int64)
    return classes
