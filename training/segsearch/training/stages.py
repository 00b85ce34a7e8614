"""A whole run: stage 1 once on video labels, then stage 2 on rated segments, for one fold, five, or none held out.

    <out>/run.json            what is trained on what; a second call must agree with it
    <out>/stage1/             checkpoint of stage 1, shared by all folds
    <out>/fold0/ ... fold4/   checkpoint, and scores.npz: the held-out segments' score codes
    <out>/final/              checkpoint trained on every rated shard
    <out>/folds.json          the five folds together

Each of these directories also holds metrics.jsonl, events/ and the state a killed run goes on from.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from segsearch.core.bundle import Metric
from segsearch.core.errors import DataError
from segsearch.core.files import write_atomically
from segsearch.core.progress import say
from segsearch.core.videos import FRAME_CAP
from segsearch.training.checkpoint import Checkpoint, read_weights, write_weights
from segsearch.training.config import RunConfig
from segsearch.training.documents import document_of
from segsearch.training.errors import OtherRun
from segsearch.training.evaluation import RATED_MAP, HeldOutScores, SegmentEvaluation, VideoEvaluation, rated_map
from segsearch.training.folder import FOLDS, DataFolder
from segsearch.training.input.segments import SegmentExamples
from segsearch.training.input.survey import RatedSegments, explain, survey_ratings, survey_training
from segsearch.training.input.videos import VideoExamples
from segsearch.training.models.network import Network
from segsearch.training.trainer import Stage, train

LAST_WEIGHTS = "last_weights.npz"  # of stage 1, not averaged
SCORES = "scores.npz"
Report = Callable[..., None]  # facts as keywords, one event a call


@dataclass(frozen=True, kw_only=True)
class Run:
    """One experiment on one data folder, written below `out`."""

    config: RunConfig
    data: DataFolder
    out: Path
    seed: int = 0
    report: Report

    def __post_init__(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        _agree(self.out, self._document())

    def stage_one(self) -> None:
        """Trains on video labels, unless that is already done; judged by the rated shards' video labels."""
        self._seed(0)
        config, data = self.config, self.data
        self._rated_in(data.rated)  # a fault in stage 2's shards is better known before stage 1 than after it
        count = survey_training(data.train, data.features, data.vocabulary)
        inputs = (data.features, data.vocabulary, config.stage1, config.input, self.seed)
        held_out = VideoEvaluation(VideoExamples(data.rated, *inputs), "rated shards", config.stage1.evaluate_videos)
        directory = self.out / "stage1"
        last = Network(config.network, data.features, len(data.vocabulary))

        def publish(network: Network, step: int, metrics: tuple[Metric, ...]) -> None:
            write_weights(directory / LAST_WEIGHTS, last)
            self._checkpoint(directory, step, metrics, data.vocabulary).write(network)

        train(
            Stage(
                name="stage1",
                directory=directory,
                config=config.stage1,
                network=last,
                examples=VideoExamples(data.train, *inputs),
                example_count=count,
                evaluate=held_out,
                publish=publish,
                choose_by=None,
                explain=lambda: explain(data.train, data.features, data.vocabulary, None),
            )
        )
        self._tell(directory)

    def stage_two(self, fold: int | None) -> None:
        """Trains on rated segments, holding out a fold or nothing; starts from stage 1's checkpoint."""
        self._seed(1 if fold is None else 2 + fold)
        config, data = self.config, self.data
        name = "final" if fold is None else f"fold{fold}"
        shards, held_out_shards = (data.rated, ()) if fold is None else data.fold(fold)
        inputs = (data.features, data.segment_vocabulary, config.context_frames, config.stage2, config.input, self.seed)
        held_out = None
        if fold is not None:
            examples = SegmentExamples(held_out_shards, *inputs)
            held_out = SegmentEvaluation(examples, self._rated_in(held_out_shards), f"fold {fold} of {FOLDS}")
        directory = self.out / name

        def publish(network: Network, step: int, metrics: tuple[Metric, ...]) -> None:
            self._checkpoint(directory, step, metrics, data.segment_vocabulary, fold=fold).write(network)
            if held_out is not None:
                HeldOutScores(held_out.rated, held_out.score_codes(network)).write(directory / SCORES)

        train(
            Stage(
                name=name,
                directory=directory,
                config=config.stage2,
                network=self._start_of_stage_two(),
                examples=SegmentExamples(shards, *inputs),
                example_count=len(self._rated_in(shards)),
                evaluate=held_out,
                publish=publish,
                choose_by=RATED_MAP if held_out else None,
                explain=lambda: explain(shards, data.features, data.vocabulary, data.segment_vocabulary),
            )
        )
        self._tell(directory)

    def summarise(self) -> dict[str, Any]:
        """The five folds together: MAP of their pooled held-out scores, and the mean of their own MAPs."""
        scores = [HeldOutScores.read(self.out / f"fold{fold}" / SCORES) for fold in range(FOLDS)]
        together = HeldOutScores.pooled(scores)
        folds = [rated_map(fold.codes, fold.rated) for fold in scores]
        summary = {
            "run": self.config.name,
            "seed": self.seed,
            "pooled_rated_map_at_100k": rated_map(together.codes, together.rated),
            "mean_rated_map_at_100k": float(np.mean(folds)),
            "fold_rated_map_at_100k": folds,
            "rated_segments": len(together.rated),
            "rated_pairs": len(together.rated.scores),
        }
        write_atomically(self.out / "folds.json", json.dumps(summary, indent=1) + "\n")
        self.report(event="folds", **summary)
        return summary

    def _start_of_stage_two(self) -> Network:
        """Stage 1's network, its head cut down to the segment classes."""
        network = Checkpoint.load(self.out / "stage1").build_network()
        if self.config.stage2_start == "last":
            read_weights(self.out / "stage1" / LAST_WEIGHTS, network)
        return network.select_classes(self.data.segment_ordinals)

    @functools.cached_property
    def _rated(self) -> dict[Path, RatedSegments]:
        """Each rated shard's segments; every record is read and checked."""
        data = self.data
        rated = {
            path: survey_ratings(path, data.features, data.vocabulary, data.segment_vocabulary) for path in data.rated
        }
        left_out = sum(part.left_out for part in rated.values())
        if left_out:
            say(f"{left_out} rated segments lie behind frame {FRAME_CAP} and are left out")
        return rated

    def _rated_in(self, shards: Sequence[Path]) -> RatedSegments:
        rated = RatedSegments.joined([self._rated[path] for path in shards])
        if not len(rated):
            raise DataError(shards[0], None, "segment_start_times", "no rated segment", "at least one in the shards")
        return rated

    def _checkpoint(
        self, directory: Path, step: int, metrics: tuple[Metric, ...], vocabulary: Any, **facts: Any
    ) -> Checkpoint:
        return Checkpoint(
            directory=directory,
            run=self.config.name,
            network_config=self.config.network,
            features=self.data.features,
            vocabulary=vocabulary,
            context_frames=self.config.context_frames,
            stage=directory.name,
            step=step,
            metrics=metrics,
            training={"config": document_of(self.config), "seed": self.seed, **facts},
        )

    def _tell(self, directory: Path) -> None:
        checkpoint = Checkpoint.load(directory)
        metrics = [dataclasses.asdict(metric) for metric in checkpoint.metrics]
        self.report(
            event="stage", stage=directory.name, checkpoint=str(directory), step=checkpoint.step, metrics=metrics
        )

    def _seed(self, part: int) -> None:
        """Each training starts from its own seed, so that its numbers do not depend on what ran before it."""
        keras.backend.clear_session()
        keras.utils.set_random_seed(8 * self.seed + part)
        if self.config.deterministic:
            tf.config.experimental.enable_op_determinism()

    def _document(self) -> dict[str, Any]:
        data = self.data
        return {
            "config": document_of(self.config),
            "seed": self.seed,
            "features": data.features.space,
            "vocabulary": data.vocabulary.digest,
            "segment_vocabulary": data.segment_vocabulary.digest,
            "train": [[file.name, file.stat().st_size] for file in data.train],
            "rated": [[file.name, file.stat().st_size] for file in data.rated],
        }


def _agree(out: Path, document: dict[str, Any]) -> None:
    """Writes run.json, or raises OtherRun naming the first field in which an older one differs."""
    path = out / "run.json"
    if not path.exists():
        write_atomically(path, json.dumps(document, indent=1) + "\n")
        return
    older = json.loads(path.read_text())
    difference = _first_difference("", older, document)
    if difference is not None:
        raise OtherRun(out, *difference)


def _first_difference(where: str, older: Any, newer: Any) -> tuple[str, Any, Any] | None:
    if isinstance(older, dict) and isinstance(newer, dict):
        for key in [*newer, *(older.keys() - newer.keys())]:
            difference = _first_difference(f"{where}.{key}".strip("."), older.get(key), newer.get(key))
            if difference is not None:
                return difference
        return None
    return None if older == newer else (where, older, newer)
