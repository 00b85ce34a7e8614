"""Reindex: every segment of a library scored, the best of every class kept, a new generation published.

Shards -> videos -> micro-batches -> score codes -> selection -> generation -> CURRENT, in one stream: memory holds the
kept postings, a few micro-batches and the video ids, however many segments pass. A reindex that fails leaves the index
as it was.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segsearch.core.errors import ConfigError, DataError, FeatureSpaceMismatch
from segsearch.core.features import FeatureSpec
from segsearch.core.progress import Advance, progress, say
from segsearch.core.segments import segment_starts
from segsearch.core.videos import Skips
from segsearch.service.index.format import GENERATIONS_CAP, GENERATIONS_KEPT, KEEP_CAP
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.kernel_selection import SelectionChoice, Selector, selection_for
from segsearch.service.index.manifest import BundleName, Manifest, Skipped
from segsearch.service.index.writer import GenerationWriter, Origin
from segsearch.service.jobs.library_shards import LibraryShards
from segsearch.service.scoring.scorer import Scorer
from segsearch.service.settings import FRAME_LIMIT, FRAME_LIMIT_CAP

REASONS_KEPT = 20


@dataclass(frozen=True, slots=True)
class Reindexed:
    """What a reindex did."""

    manifest: Manifest
    seconds: float

    @property
    def segments_per_s(self) -> float:
        return self.manifest.segment_count / max(self.seconds, 1e-9)


def reindex(
    scorer: Scorer,
    files: list[Path],
    index: IndexDirectory,
    *,
    keep: int,
    spec: FeatureSpec | None = None,
    frame_limit: int = FRAME_LIMIT,
    skip_bad: bool = False,
    selection: SelectionChoice = "auto",
    scores: bool = False,
    keep_generations: int = GENERATIONS_KEPT,
) -> Reindexed:
    """Scores all videos of `files` and publishes the generation.

    keep: postings kept a class. spec: where the records keep the streams, if elsewhere than the bundle's training data
    did. frame_limit: a longer video is a bad record. skip_bad: pass over bad records, counted and reported, instead of
    stopping at the first one. selection: what keeps the best, compiled loops or numpy; the lists are the same.
    scores: keep every segment's score codes too. keep_generations: older ones are removed, but none that is in use.

    Raises BadRecord, BadShard, FeatureSpaceMismatch, IndexBusy, and whatever the scorer raises.
    """
    started = time.monotonic()
    check_limits(keep, frame_limit, keep_generations)
    shards = LibraryShards(files, _spec(scorer, spec), frame_limit, Skips() if skip_bad else None)
    shards.check_feature_space()
    with index.building() as building:
        with GenerationWriter(building.directory, _origin(scorer), keep, scores=scores) as writer:
            best = selection_for(len(scorer.bundle.vocabulary), keep, shards.segment_bound(), selection)
            _select(scorer, shards, writer, best)
            for ordinals, codes in best.ranked():
                writer.add_postings(ordinals, codes)
            manifest = writer.seal(building.number, _skipped(shards))
        index.publish(building, keep_generations)
    return Reindexed(manifest, time.monotonic() - started)


def check_limits(keep: int, frame_limit: int, keep_generations: int = GENERATIONS_KEPT) -> None:
    """Raises ConfigError for what no reindex takes; whoever opens a model first asks before."""
    ConfigError.check_range("keep", keep, 1, KEEP_CAP)
    ConfigError.check_range("frame_limit", frame_limit, 1, FRAME_LIMIT_CAP)
    ConfigError.check_range("keep_generations", keep_generations, 1, GENERATIONS_CAP)


def _select(scorer: Scorer, shards: LibraryShards, writer: GenerationWriter, best: Selector) -> None:
    """One pass over the library: segments to the writer, their codes to the selection."""
    with progress("reindex", shards.record_count, "videos") as advance:
        for block in scorer.codes(_frames(shards, writer, advance), by_class=True):
            best.add_by_class(block)
            if writer.keeps_scores:
                writer.add_scores(block.T)
    if not writer.video_count:
        reason = shards.skips.summary() if shards.skips else "no record"
        raise DataError(shards.files[0], None, "videos", f"none that can be used in {len(shards.files)} files "
                        f"({reason})", "at least one")  # fmt: skip
    if shards.skips:
        say(f"records: {shards.skips.summary()}")


def _frames(shards: LibraryShards, writer: GenerationWriter, advance: Advance) -> Iterator[np.ndarray]:
    """Frames (T, F) uint8 of every video, its segments noted with the writer as it passes."""
    started, told = time.monotonic(), 0

    def tell() -> None:
        nonlocal told
        skipped = len(shards.skips) if shards.skips is not None else 0
        rate = writer.segment_count / max(time.monotonic() - started, 1e-9)
        note = f"{writer.segment_count} segments, {rate:,.0f} segments/s" + (f", {skipped} skipped" if skipped else "")
        advance(writer.video_count + skipped - told, note)
        told = writer.video_count + skipped

    for video in shards.videos():
        writer.add_video(video.id, segment_starts(len(video.frames)))
        yield video.frames
        tell()
    tell()  # of what was skipped behind the last video


def _spec(scorer: Scorer, spec: FeatureSpec | None) -> FeatureSpec:
    wanted = scorer.bundle.manifest.features
    if spec is not None and spec.space != wanted.space:
        raise FeatureSpaceMismatch("the data", spec.space, wanted.space)
    return spec or wanted


def _origin(scorer: Scorer) -> Origin:
    manifest = scorer.bundle.manifest
    name = BundleName(manifest.name, manifest.version, scorer.bundle.digest)
    return Origin(name, manifest.features.space, scorer.bundle.vocabulary)


def _skipped(shards: LibraryShards) -> Skipped:
    skips = shards.skips or Skips()
    reasons = tuple(str(error) for error in skips.errors[:REASONS_KEPT])
    return Skipped(len(skips), reasons, len(skips.broken), skips.unread_bytes)
