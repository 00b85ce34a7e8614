"""A student's training: a run like any other, but for what its second stage learns from.

Where it stands: `stages.Run` trains stage 1, keeps checkpoints, resumes, judges folds and leaves their matrices; this
file replaces stage 2's examples and its objective. Fold f's student never meets fold f's videos, not even unrated.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segsearch.core.bundle import Metric
from segsearch.core.errors import DataError
from segsearch.training.documents import document_of
from segsearch.training.evaluation import SegmentEvaluation
from segsearch.training.folder import FOLDS
from segsearch.training.input.segments import SegmentExamples
from segsearch.training.input.survey import explain
from segsearch.training.models.network import Network
from segsearch.training.rated_map import RATED_MAP
from segsearch.training.stages import Run
from segsearch.training.student.config import DistilConfig
from segsearch.training.student.examples import Reading, TaughtSegments
from segsearch.training.student.lessons import Lessons
from segsearch.training.student.objective import DistilObjective
from segsearch.training.trainer import Stage, train


@dataclass(frozen=True, kw_only=True)
class StudentRun(Run):
    """One student on one data folder; its config is `student.config.taught`'s."""

    distil: DistilConfig
    teachers: Path  # see `lessons`

    def lessons(self, fold: int | None) -> Lessons:
        """What the student of a fold, or of all shards, learns from; raises MatrixRefused where it may not."""
        shards = self.data.rated if fold is None else self.data.fold(fold)[0]
        return Lessons.open(self.teachers, fold, self.data, self._rated_in(shards))

    def _stage_two(self, fold: int | None, directory: Path) -> None:
        config, data, lessons = self.config, self.data, self.lessons(fold)
        lessons.check_segments(data)
        reading = Reading(data.features, config.context_frames, config.stage2, config.input, self.seed)
        facts = self._facts(fold, lessons)

        def publish(network: Network, step: int, metrics: tuple[Metric, ...]) -> None:
            self._checkpoint(directory, step, metrics, data.segment_vocabulary, **facts).write(network)

        def fault() -> DataError | None:
            lessons.check_segments(data)
            return explain(lessons.shards, data.features, data.vocabulary, None)

        train(
            Stage(
                name=directory.name,
                directory=directory,
                config=config.stage2,
                objective=DistilObjective(self.distil),
                network=self._start_of_stage_two(),
                examples=TaughtSegments(lessons, reading),
                example_count=len(lessons),
                evaluate=None if fold is None else self._judge(fold, reading),
                publish=publish,
                choose_by=None if fold is None else RATED_MAP,
                explain=fault,
                **self._engine,
            )
        )

    def _judge(self, fold: int, reading: Reading) -> SegmentEvaluation:
        held_out = self.data.fold(fold)[1]
        examples = SegmentExamples(
            held_out, reading.features, self.data.segment_vocabulary, reading.context, reading.stage, reading.config,
            reading.seed,
        )  # fmt: skip
        split = f"fold {fold} of {FOLDS}"
        return SegmentEvaluation(examples, self._rated_in(held_out), split, reading.stage.evaluate_shift)

    def _facts(self, fold: int | None, lessons: Lessons) -> dict[str, Any]:
        """What a checkpoint says of its training, beside its config."""
        return {
            "fold": fold,
            "rated_shards": [shard.name for shard in (self.data.rated if fold is None else self.data.fold(fold)[0])],
            "distil": document_of(self.distil),
            "taught_on": [shard.name for shard in lessons.shards],
            "teachers": lessons.digests,
        }

    def _document(self) -> dict[str, Any]:
        return {**super()._document(), "distil": document_of(self.distil)}
