"""Reindex: every segment of a library scored, the best of every class kept, a new generation published.

Shards -> finished pieces, one a shard, by an engine -> selection, in the library's order -> generation -> CURRENT. A
reindex that was killed goes on from its finished pieces, and publishes what it would have published undisturbed. One
that fails leaves the index as it was. Memory holds the kept postings, a few micro-batches and the video ids.

The live store's uploads and deletions are laid over the shards. What arrives while the reindex runs stays live, scored
by the new bundle too by the time its generation answers.
"""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from segsearch.core.errors import ConfigError, DataError, FeatureSpaceMismatch
from segsearch.core.features import FeatureSpec
from segsearch.core.progress import progress, say
from segsearch.core.videos import Skips
from segsearch.service.index.format import GENERATIONS_CAP, GENERATIONS_KEPT, KEEP_CAP
from segsearch.service.index.index_directory import Building, IndexDirectory
from segsearch.service.index.kernel_selection import SelectionChoice, selection_for
from segsearch.service.index.live.store import LiveStore
from segsearch.service.index.manifest import BundleName, Manifest, Skipped
from segsearch.service.index.neighbour_building import check_installed
from segsearch.service.index.writer import GenerationWriter, Origin
from segsearch.service.jobs.assembly import Assembly
from segsearch.service.jobs.engines import Engine, InProcess
from segsearch.service.jobs.library_shards import LibraryShards, Reading, Shard
from segsearch.service.jobs.live_videos import LiveVideos, replay
from segsearch.service.jobs.shard_progress import ShardProgress
from segsearch.service.jobs.shard_scores import ShardScores
from segsearch.service.jobs.shard_scoring import ShardTask, score_videos
from segsearch.service.jobs.work_folder import WorkFolder
from segsearch.service.jobs.workers import TunedScorer
from segsearch.service.settings import FRAME_LIMIT, FRAME_LIMIT_CAP

REASONS_KEPT = 20


@dataclass(frozen=True, slots=True)
class Reindexed:
    """What a reindex did."""

    manifest: Manifest
    seconds: float
    resumed: int = 0  # shards that an earlier run had finished

    @property
    def segments_per_s(self) -> float:
        return self.manifest.segment_count / max(self.seconds, 1e-9)


def reindex(
    scorer: TunedScorer,
    files: Sequence[Shard],
    index: IndexDirectory,
    *,
    keep: int,
    spec: FeatureSpec | None = None,
    frame_limit: int = FRAME_LIMIT,
    skip_bad: bool = False,
    selection: SelectionChoice = "auto",
    scores: bool = False,
    embeddings: bool = False,
    keep_generations: int = GENERATIONS_KEPT,
    engine: Engine | None = None,
    store: LiveStore | None = None,
) -> Reindexed:
    """Scores all videos of `files` and publishes the generation.

    keep: postings kept a class. spec: where the records keep the streams, if elsewhere than the bundle's training data
    did. frame_limit: a longer video is a bad record. skip_bad: pass over bad records, counted and reported, instead of
    stopping at the first one. selection: what keeps the best, compiled loops or numpy; the lists are the same.
    scores: keep every segment's score codes too. embeddings: keep what neighbours are found by. keep_generations: older
    ones are removed, but none that is in use. engine: what scores the shards, `scorer` in this process unless told.
    store: the index's live store, where it has one: its videos are scored from their frames, and what it deleted stays
    away.

    Raises BadRecord, BadShard, FeatureSpaceMismatch, IndexBusy, OSError, and whatever the engine raises. What was
    finished by then stays in the index directory, for the next reindex to go on with.
    """
    started = time.monotonic()
    check_limits(keep, frame_limit, keep_generations)
    shards = LibraryShards(files, Reading(_spec(scorer, spec), frame_limit, skip_bad))
    shards.check_feature_space()
    with index.building() as building:
        work = WorkFolder.of(index.root, _manner(scorer, embeddings), shards.reading)
        live = LiveVideos.of(store) if store is not None else None
        origin = _origin(scorer, live.sequence if live else 0)
        bound = shards.segment_bound() + (live.segment_count if live else 0)
        size = scorer.bundle.manifest.embedding_size if embeddings else None
        if embeddings:
            check_installed(bound, "reindex --embeddings")
        try:
            work.open()
            with GenerationWriter(building.directory, origin, keep, scores=scores, embedding_size=size) as writer:
                best = selection_for(len(scorer.bundle.vocabulary), keep, bound, selection)
                assembly = Assembly(writer, best, live.ids if live else ())
                resumed = _add_shards(shards, engine or InProcess(scorer), work, assembly)
                if live:
                    _add_uploads(live, scorer, work, assembly)
                manifest = _sealed(building, assembly, shards)
            _publish(index, building, keep_generations, scorer, live)
            work.remove_all()
        finally:
            work.leave()
    return Reindexed(manifest, time.monotonic() - started, resumed)


def check_limits(keep: int, frame_limit: int, keep_generations: int = GENERATIONS_KEPT) -> None:
    """Raises ConfigError for what no reindex takes; whoever opens a model first asks before."""
    ConfigError.check_range("keep", keep, 1, KEEP_CAP)
    ConfigError.check_range("frame_limit", frame_limit, 1, FRAME_LIMIT_CAP)
    ConfigError.check_range("keep_generations", keep_generations, 1, GENERATIONS_CAP)


def _add_shards(shards: LibraryShards, engine: Engine, work: WorkFolder, assembly: Assembly) -> int:
    """Every shard's scores into the assembly, as soon as they and those before are there; how many were found so."""
    pieces, skip_bad = [work.piece_of(file) for file in shards.files], shards.reading.skip_bad
    found = {number for number, piece in enumerate(pieces) if work.finished(piece, skip_bad=skip_bad)}
    tasks = [
        ShardTask(number, file, piece, shards.reading, assembly.writer.keeps_embeddings)
        for number, (file, piece) in enumerate(zip(shards.files, pieces, strict=True))
        if number not in found
    ]
    if found:
        say(f"going on: {len(found)} of {len(pieces)} shards were finished before")
    total = shards.record_count([task.number for task in tasks])
    with progress("reindex", total, "videos") as advance, closing(engine.run(tasks)) as steps:
        told = ShardProgress(advance, len(pieces), set(found))
        for number, (file, piece) in enumerate(zip(shards.files, pieces, strict=True)):
            told.wait_for(number, steps)
            assembly.add_shard(file, ShardScores.open(piece))
    return len(found)


def _add_uploads(live: LiveVideos, scorer: TunedScorer, work: WorkFolder, assembly: Assembly) -> None:
    """The live store's videos into the assembly, behind those of the shards."""
    with progress("reindex: uploads", len(live.uploads), "videos") as advance:
        for number, part in enumerate(live.parts()):
            piece = work.piece(part.facts)
            if not work.finished(piece):
                keeps = assembly.writer.keeps_embeddings
                for step in score_videos(scorer, piece, number, part.videos(), embeddings=keeps):
                    advance(step.records)
            assembly.add_uploads(ShardScores.open(piece))


def _publish(index: IndexDirectory, built: Building, keep: int, scorer: TunedScorer, live: LiveVideos | None) -> None:
    """Makes the generation current, with uploads that arrived meanwhile scored before a query asks for them."""
    if live:
        replay(scorer, live.store, live.sequence)
    index.publish(built, keep)
    if live:  # a server may have been scoring by the old bundle alone until now
        replay(scorer, live.store, live.sequence)


def _sealed(building: Building, assembly: Assembly, shards: LibraryShards) -> Manifest:
    """The generation's lists and its manifest; raises DataError where there is no video."""
    writer, skips = assembly.writer, assembly.skips
    if not writer.video_count:
        reason = skips.summary() if skips else "no record"
        raise DataError(shards.files[0], None, "videos", f"none that can be used in {len(shards.files)} files "
                        f"({reason})", "at least one")  # fmt: skip
    if skips:
        say(f"records: {skips.summary()}")
    for ordinals, codes in assembly.best.ranked():
        writer.add_postings(ordinals, codes)
    return writer.seal(building.number, _skipped(skips))


def _spec(scorer: TunedScorer, spec: FeatureSpec | None) -> FeatureSpec:
    wanted = scorer.bundle.manifest.features
    if spec is not None and spec.space != wanted.space:
        raise FeatureSpaceMismatch("the data", spec.space, wanted.space)
    return spec or wanted


def _origin(scorer: TunedScorer, live_sequence: int) -> Origin:
    manifest = scorer.bundle.manifest
    name = BundleName(manifest.name, manifest.version, scorer.bundle.digest)
    return Origin(name, manifest.features.space, scorer.bundle.vocabulary, live_sequence=live_sequence)


def _manner(scorer: TunedScorer, embeddings: bool) -> dict[str, str | int]:
    """What decides a piece, to the last bit, beside the frames."""
    kept: dict[str, str | int] = {"embeddings": True} if embeddings else {}
    return {
        "bundle": scorer.bundle.digest, "precision": scorer.precision, "provider": scorer.provider,
        "batch": scorer.tuning.batch, **kept,
    }  # fmt: skip


def _skipped(skips: Skips) -> Skipped:
    reasons = tuple(str(error) for error in skips.errors[:REASONS_KEPT])
    return Skipped(len(skips), reasons, len(skips.broken), skips.unread_bytes)
