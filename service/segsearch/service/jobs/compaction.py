"""Compaction: what was uploaded and deleted since a generation becomes part of the next one. Nothing is scored again.

Where it stands: `index.view` lays the live store over the current generation; this writes what the view shows as a
generation of its own, while searches go on. Ranks stay as they were: live segments come behind all others, in the order
in which the view has them.

N segments of the old generation, D of the delta, C classes, H embedding size.
"""

import time
from dataclasses import dataclass

import numpy as np

from segsearch.core.errors import ConfigError, LackingScores
from segsearch.core.progress import progress
from segsearch.core.vocabulary import ClassOrdinal
from segsearch.service.index.format import EMBEDDINGS_DTYPE, GENERATIONS_CAP, GENERATIONS_KEPT
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.live.store import LiveStore
from segsearch.service.index.manifest import Manifest
from segsearch.service.index.neighbour_building import check_installed
from segsearch.service.index.view import View, live_over
from segsearch.service.index.writer import GenerationWriter, Origin

_ROWS = 1 << 14  # rows of a score matrix copied together


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction did."""

    manifest: Manifest
    added: int  # segments that were live
    removed: int  # segments of the old generation that are gone
    seconds: float


def compact(index: IndexDirectory, store: LiveStore, *, keep_generations: int = GENERATIONS_KEPT) -> Compacted | None:
    """Publishes a generation of all that can be found now; None where nothing changed since the current one, or where
    everything was deleted.

    keep_generations: so many by the same bundle are left, and all by others, which only a reindex removes: the way
    back to another model stays open however often this one is compacted. What arrives meanwhile stays live.

    Raises ConfigError, IndexBusy, NoGeneration, GenerationCorrupt, or LackingScores where live videos were scored by
    another bundle only: then a reindex is due.
    """
    started = time.monotonic()
    ConfigError.check_range("keep_generations", keep_generations, 1, GENERATIONS_CAP)
    with index.building() as building:
        generation = index.open_current()
        generation.verify()
        old = generation.manifest
        delta = live_over(generation, store).current()
        if delta.lacking:  # at the moment of which the generation is: an upload by another bundle may come at any time
            raise LackingScores(index.root, delta.lacking, f"{old.bundle.name}/{old.bundle.version}")
        view = View.of(generation, delta)
        if view.sequence == old.live_sequence or not view.segment_count:
            return None
        size = old.neighbours.embedding_size if old.neighbours else None
        if size:
            check_installed(view.segment_count, "index compact")
        origin, scores = _origin(view), generation.scores is not None
        with GenerationWriter(building.directory, origin, old.limit, scores=scores, embedding_size=size) as writer:
            manifest = _write(view, writer, building.number)
        index.publish(building, keep_generations, among=old.bundle)
    added = int(view.delta.alive.sum())
    return Compacted(manifest, added, old.segment_count + added - manifest.segment_count, time.monotonic() - started)


def _origin(view: View) -> Origin:
    old = view.manifest
    return Origin(old.bundle, old.feature_space, view.vocabulary, old.blend, view.sequence)


def _write(view: View, writer: GenerationWriter, number: int) -> Manifest:
    shown, columns = view.shown(), np.flatnonzero(view.delta.alive)
    _add_videos(view, columns, writer)
    ordinals = np.cumsum(np.concatenate([shown, view.delta.alive])) - 1  # of each place, where it can be found
    with progress("compact", len(view.vocabulary), "tags") as advance:
        for row in range(len(view.vocabulary)):
            best = view.best(ClassOrdinal(row), writer.limit)
            writer.add_postings(ordinals[best.places].astype(np.uint32), best.codes)
            advance(1)
    if view.generation.scores is not None:
        for start in range(0, view.base_count, _ROWS):
            writer.add_scores(view.generation.scores[start : start + _ROWS][shown[start : start + _ROWS]])
        writer.add_scores(view.delta.codes[:, columns].T)
    if view.generation.neighbours is not None:
        embeddings = view.generation.neighbours.embeddings  # (N, H)
        for start in range(0, view.base_count, _ROWS):
            writer.add_embeddings(embeddings[start : start + _ROWS][shown[start : start + _ROWS]])
        # Live segments have none: zeros, until the next reindex.
        writer.add_embeddings(np.zeros((len(columns), embeddings.shape[1]), EMBEDDINGS_DTYPE))
    return writer.seal(number, view.manifest.skipped)


def _add_videos(view: View, columns: np.ndarray, writer: GenerationWriter) -> None:
    """The generation's videos that can be found, then the live ones, each with its segments."""
    for places in (np.flatnonzero(view.shown()), view.base_count + columns):
        videos, starts = view.videos(places), view.starts(places)
        first = np.flatnonzero(np.diff(videos, prepend=-1))
        ids, _ = view.segments(places[first])
        for video_id, own in zip(ids, np.split(starts, first[1:]) if len(first) else [], strict=True):
            writer.add_video(video_id, own)
