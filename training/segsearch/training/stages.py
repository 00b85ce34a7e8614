"""A whole run: stage 1 once on video labels, then stage 2 on rated segments, for one fold, five, or none held out.

    <out>/run.json            what is trained on what; a second call must agree with it
    <out>/stage1/             checkpoint of stage 1, shared by all folds
    <out>/fold0/ ... fold4/   checkpoint, and matrix.npz: every held-out segment's score codes
    <out>/final/              checkpoint trained on every rated shard
    <out>/folds.json          the five folds together, and each class's average precision

Each of these directories also holds metrics.jsonl, events/ and the state a killed run goes on from.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from segsearch.training.agreement import agree, first_difference, weights_of
from segsearch.training.checkpoint import Checkpoint, read_weights, write_weights
from segsearch.training.config import RunConfig
from segsearch.training.devices import Devices
from segsearch.training.documents import document_of
from segsearch.training.errors import OtherRun
from segsearch.training.evaluation import SegmentEvaluation, VideoEvaluation
from segsearch.training.folder import FOLDS, DataFolder
from segsearch.training.input.segments import SegmentExamples
from segsearch.training.input.survey import RatedSegments, explain, survey_ratings, survey_training
from segsearch.training.input.unlabelled import BesideUnlabelled, UnlabelledSegments
from segsearch.training.input.videos import VideoExamples
from segsearch.training.input.weighing import class_weights_of
from segsearch.training.models.network import Network
from segsearch.training.objective import objective_of
from segsearch.training.precision import computing_in
from segsearch.training.rated_map import RATED_MAP, mean_precision, rated_map, rated_precisions
from segsearch.training.score_matrix import ScoreMatrix, check_folds
from segsearch.training.scoring import write_matrix
from segsearch.training.trainer import Stage, train

STAGE1 = "stage1"
LAST_WEIGHTS = "last_weights.npz"  # of stage 1, not averaged
FOLDS_FILE = "folds.json"
MATRIX = "matrix.npz"  # see `score_matrix`
Report = Callable[..., None]  # facts as keywords, one event a call


@dataclass(frozen=True, kw_only=True)
class Run:
    """One experiment on one data folder, written below `out`."""

    config: RunConfig
    data: DataFolder
    out: Path
    seed: int = 0
    start: Path | None = None  # another run's folder, whose stage 1 takes the place of this one's
    report: Report

    def __post_init__(self) -> None:
        if self.start is not None:
            self._check_start(Checkpoint.load(self.start / STAGE1))
        self.out.mkdir(parents=True, exist_ok=True)
        if self.devices.chief:
            agree(self.out, self._document())

    @functools.cached_property
    def devices(self) -> Devices:
        """What the run computes on."""
        return Devices(self.config.engine.strategy)

    def stage_one(self) -> None:
        """Trains on video labels, unless that is done, here or in `start`; judged by the rated shards' video labels."""
        if self.start is None:
            with self._prepared(0):
                self._stage_one()

    def stage_two(self, fold: int | None) -> None:
        """Trains on rated segments, holding out a fold or nothing; starts from stage 1's checkpoint."""
        directory = self.out / ("final" if fold is None else f"fold{fold}")
        with self._prepared(1 if fold is None else 2 + fold):
            self._stage_two(fold, directory)
        if fold is not None and self.devices.chief:
            self._score_held_out(directory, self.data.fold(fold)[1])
        self.devices.agreed(0)  # nobody sums up before the chief has written the matrix
        self._tell(directory)

    def _stage_one(self) -> None:
        config, data = self.config, self.data
        self._rated_in(data.rated)  # a fault in stage 2's shards is better known before stage 1 than after it
        count = survey_training(data.train, data.features, data.vocabulary)
        inputs = (data.features, data.vocabulary, config.stage1, config.input, self.seed)
        held_out = VideoEvaluation(VideoExamples(data.rated, *inputs), "rated shards", config.stage1.evaluate_videos)
        directory = self.out / STAGE1
        with self.devices.scope():
            last = Network(config.network, data.features, len(data.vocabulary))

        def publish(network: Network, step: int, metrics: tuple[Metric, ...]) -> None:
            write_weights(directory / LAST_WEIGHTS, last)
            self._checkpoint(directory, step, metrics, data.vocabulary).write(network)

        train(
            Stage(
                name=STAGE1,
                directory=directory,
                config=config.stage1,
                objective=objective_of(config, config.stage1),
                network=last,
                examples=VideoExamples(data.train, *inputs),
                example_count=count,
                evaluate=held_out,
                publish=publish,
                choose_by=None,
                explain=lambda: explain(data.train, data.features, data.vocabulary, None, labelled=True),
                **self._engine,
            )
        )
        self._tell(directory)

    def _stage_two(self, fold: int | None, directory: Path) -> None:
        config, data = self.config, self.data
        shards, held_out_shards = (data.rated, ()) if fold is None else data.fold(fold)
        inputs = (data.features, data.segment_vocabulary, config.context_frames, config.stage2, config.input, self.seed)
        held_out = None
        if fold is not None:
            examples, rated = SegmentExamples(held_out_shards, *inputs), self._rated_in(held_out_shards)
            held_out = SegmentEvaluation(examples, rated, f"fold {fold} of {FOLDS}", config.stage2.evaluate_shift)
        learned_from = [shard.name for shard in shards]

        def publish(network: Network, step: int, metrics: tuple[Metric, ...]) -> None:
            facts = {"fold": fold, "rated_shards": learned_from}
            self._checkpoint(directory, step, metrics, data.segment_vocabulary, **facts).write(network)

        train(
            Stage(
                name=directory.name,
                directory=directory,
                config=config.stage2,
                objective=objective_of(config, config.stage2),
                network=self._start_of_stage_two(),
                examples=self._segment_examples(shards, inputs),
                example_count=len(self._rated_in(shards)),
                evaluate=held_out,
                publish=publish,
                choose_by=RATED_MAP if held_out else None,
                explain=lambda: (
                    explain(shards, data.features, data.vocabulary, data.segment_vocabulary)
                    or explain(data.unlabelled, data.features, data.vocabulary, None)
                ),
                **self._engine,
            )
        )

    def _segment_examples(self, shards: Sequence[Path], inputs: tuple[Any, ...]) -> SegmentExamples | BesideUnlabelled:
        """Rated segments, weighed as stage 2's config says, and unlabelled ones beside them if it has a teacher."""
        config, data = self.config, self.data
        stage, ordinals = config.stage2, self._rated_in(shards).ordinals
        class_weights = class_weights_of(stage.labels, ordinals, len(data.segment_vocabulary))
        rated = SegmentExamples(shards, *inputs, class_weights=class_weights)
        if stage.mean_teacher is None:
            return rated
        survey_training(data.unlabelled, data.features, data.vocabulary, labelled=False)
        beside = stage.mean_teacher.segments_beside(stage.batch_size)
        others = (data.unlabelled, data.features, config.context_frames, beside, config.input, self.seed)
        return BesideUnlabelled(rated, UnlabelledSegments(*others))

    def _score_held_out(self, directory: Path, shards: Sequence[Path]) -> None:
        """Writes the held-out videos' matrix, unless the one that is there is of this checkpoint.

        Outside of `_prepared`: one machine does this alone, in float32.
        """
        checkpoint, path = Checkpoint.load(directory), directory / MATRIX
        if not path.exists() or ScoreMatrix.open(path).about.checkpoint != checkpoint.digest:
            write_matrix(path, checkpoint, shards, self.config.stage2.evaluate_shift)

    def summarise(self) -> dict[str, Any]:
        """The five folds together: MAP of their pooled held-out scores, and the mean of their own MAPs."""
        matrices = [ScoreMatrix.open(self.out / f"fold{fold}" / MATRIX) for fold in range(FOLDS)]
        check_folds(matrices)
        rated = [self._rated_in(self.data.fold(fold)[1]) for fold in range(FOLDS)]
        codes = [matrix.codes[matrix.rows_of(part.ids)] for matrix, part in zip(matrices, rated, strict=True)]
        folds = [rated_map(*fold) for fold in zip(codes, rated, strict=True)]
        together = RatedSegments.joined(rated)
        precisions = rated_precisions(np.concatenate(codes), together)
        entries = self.data.segment_vocabulary.entries
        summary = {
            "run": self.config.name,
            "seed": self.seed,
            "pooled_rated_map_at_100k": mean_precision(precisions),
            "mean_rated_map_at_100k": float(np.mean(folds)),
            "fold_rated_map_at_100k": folds,
            "rated_segments": len(together),
            "rated_pairs": len(together.scores),
        }
        if self.devices.chief:
            by_class = {str(entries[ordinal].label_index): value for ordinal, value in precisions.items()}
            document = {**summary, "pooled_average_precision": by_class}
            write_atomically(self.out / FOLDS_FILE, json.dumps(document, indent=1) + "\n")
            self.report(event="folds", **summary)
        return summary

    def _start_of_stage_two(self) -> Network:
        """Stage 1's network, its head cut down to the segment classes."""
        stage1 = (self.start or self.out) / STAGE1
        network = Checkpoint.load(stage1).build_network()
        if self.config.stage2_start == "last":
            read_weights(stage1 / LAST_WEIGHTS, network)
        with self.devices.scope():
            return network.select_classes(self.data.segment_ordinals)

    def _check_start(self, stage1: Checkpoint) -> None:
        """Raises OtherRun, naming the first thing in which another run's stage 1 does not fit this one."""
        mine = (self.config.network, self.data.features.space, self.data.vocabulary.digest)
        other = (stage1.network_config, stage1.features.space, stage1.vocabulary.digest)
        documents = [
            {"network": weights_of(network), "features": features, "vocabulary": vocabulary}
            for network, features, vocabulary in (other, mine)
        ]
        difference = first_difference("", *documents)
        if difference is not None:
            raise OtherRun(stage1.directory, *difference)

    @functools.cached_property
    def _rated(self) -> dict[Path, RatedSegments]:
        """Each rated shard's segments; every record is read and checked."""
        data = self.data
        labelled = self.config.stage2.labels.need_video_labels
        parts = (data.features, data.vocabulary, data.segment_vocabulary, labelled)
        rated = {path: survey_ratings(path, *parts) for path in data.rated}
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
            training={"config": document_of(self.config), "seed": self.seed, **self._skipped, **facts},
        )

    def _tell(self, directory: Path) -> None:
        if not self.devices.chief:
            return
        checkpoint = Checkpoint.load(directory)
        metrics = [dataclasses.asdict(metric) for metric in checkpoint.metrics]
        self.report(
            event="stage", stage=directory.name, checkpoint=str(directory), step=checkpoint.step, metrics=metrics
        )

    @contextmanager
    def _prepared(self, part: int) -> Iterator[None]:
        """Each training starts from its own seed, so that its numbers do not depend on what ran before it."""
        keras.backend.clear_session()
        keras.utils.set_random_seed(8 * self.seed + part)
        if self.config.deterministic:
            tf.config.experimental.enable_op_determinism()
        with computing_in(self.config.engine.precision):
            yield

    @property
    def _engine(self) -> dict[str, Any]:
        """What every stage's training is told of how to compute."""
        return {"engine": self.config.engine, "devices": self.devices, "facts": self._skipped}

    @property
    def _skipped(self) -> dict[str, int]:
        """How many records were left out of the shards, where they were looked for."""
        return {"skipped_records": len(self.data.skipped)} if self.config.input.on_error == "skip" else {}

    def _document(self) -> dict[str, Any]:
        data = self.data
        return {
            "config": document_of(self.config),
            "seed": self.seed,
            "stage1": Checkpoint.load(self.start / STAGE1).digest if self.start else None,
            "features": data.features.space,
            "vocabulary": data.vocabulary.digest,
            "segment_vocabulary": data.segment_vocabulary.digest,
            "train": [[file.name, file.stat().st_size] for file in data.train],
            "rated": [[file.name, file.stat().st_size] for file in data.rated],
            "unlabelled": [[file.name, file.stat().st_size] for file in data.unlabelled],
        }
