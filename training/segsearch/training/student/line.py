"""`make student`: base models, their ensemble, level two, the student, its bundle, and each level's submission.

Where it stands: every step is a command that a user could type, run by `steps`; `report` reads what they left.

    <out>/runs/        base models, and the student's kind and size on labels alone, as `segsearch train` leaves them
    <out>/scores/      what each base model says of everything (`scores`)
    <out>/ensemble/    by ranks, which forget how sure a model was; <out>/teachers/ by probability, to learn from
    <out>/level_two/   trees above the ensemble
    <out>/student/     five folds to be judged by, `final` to be used
    <out>/bundles/     the student's bundle and model card; <out>/index/ a generation of each level
    <out>/{single,ensemble,level_two,student}.csv
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segsearch.core.cli import own_process
from segsearch.training.ablation.queue import DONE, Queue, is_done
from segsearch.training.ablation.rows import Row
from segsearch.training.folder import FOLDS
from segsearch.training.student.config import SUFFIX
from segsearch.training.student.scores import COST
from segsearch.training.student.steps import Step, run_steps

ALONE = ("context_frames=0",)
BASE = (
    Row(name="soft_dbof", run="soft_dbof_audioset"),
    Row(name="gated_dbof", run="gated_dbof_audioset"),
    Row(name="mixdbof", run="mixdbof_audioset"),
    Row(name="mixnextvlad", run="mixnextvlad_audioset"),
    Row(name="netvlad_alone", run="netvlad_audioset", changes=ALONE),
)
ENSEMBLE = ("--way", "rank", "--weights", "searched", "--smoothing", "0.1", "--video-power", "0.05")
# At twice the weight trees gain half as much again on rated pairs, and lose twice as much on what nobody rated.
LEVEL_TWO = ("--weight", "0.25")
TEACHERS = ("--way", "probability", "--weights", "equal", "--smoothing", "0.1")
LEVELS = ("single", "ensemble", "level_two", "student")


@dataclass(frozen=True, kw_only=True)
class Line:
    """All of it, on one data folder, for one student."""

    data: Path
    out: Path
    student: str  # as dbof-small
    serve: Path  # the program `segsearch` of the serving environment
    trained: Path | None = None  # a folder in which some base models may lie finished
    workers: int = 2

    @property
    def twin(self) -> Row:
        """The student's kind and size on labels alone; of a middling one the ablation's own run."""
        kind, _, size = self.student.partition("-")
        if size == "medium":
            return Row(name=kind, run=f"{kind}_audioset")
        run = f"{kind}_{size}{SUFFIX}"
        return Row(name=run, run=run)

    def run(self) -> None:
        """Raises RowFailed or StepFailed; the same call goes on behind what is done."""
        rows = [row for row in (*BASE, self.twin) if self.folder_of(row) == self.out / "runs" / row.name]
        Queue(rows=rows, data=str(self.data), out=self.out / "runs", workers=self.workers).run()
        for steps in (
            self.scores,
            self.ensembles,
            self.level_two,
            self.folds,
            self.bundle,
            self.generations,
            self.csvs,
        ):
            run_steps(steps(), self.out / "logs", self.workers)

    def folder_of(self, row: Row) -> Path:
        """Where a row's run lies."""
        if self.trained is not None and is_done(self.trained, row.name):
            return self.trained / row.name
        return self.out / "runs" / row.name

    @property
    def best(self) -> Row:
        """The base model with the best mean of folds."""
        return max(BASE, key=lambda row: json.loads((self.folder_of(row) / DONE).read_text())["mean_rated_map_at_100k"])

    def scores(self) -> list[Step]:
        steps = [
            self._module(
                f"scores {row.name}", "scores", self.folder_of(row), "--data", self.data, "--out", out, makes=out / COST
            )
            for row in BASE
            for out in [self.out / "scores" / row.name]
        ]
        # The longest first, so that no core waits at the end for one that began late.
        return sorted(steps, key=lambda step: "dbof" in step.name)

    def ensembles(self) -> list[Step]:
        names = [self.out / "scores" / row.name for row in BASE]
        taught = [word for name in ("learned", "train", "test") for word in ("--teach", name)]
        ensemble, teachers = self.out / "ensemble", self.out / "teachers"
        return [
            self._command("ensemble", *names, "--data", self.data, "--out", ensemble, *ENSEMBLE, "--also", "test",
                          makes=ensemble / "ensemble.json"),
            self._command("ensemble", *names, "--data", self.data, "--out", teachers, *TEACHERS, "--also", "test",
                          "--also", "train", *taught, makes=teachers / "ensemble.json", name="teachers"),
        ]  # fmt: skip

    def level_two(self) -> list[Step]:
        names, out = [self.out / "scores" / row.name for row in BASE], self.out / "level_two"
        words = (self.out / "ensemble", *names, "--data", self.data, "--out", out, *LEVEL_TWO, "--also", "test")
        words = (*words, "--importance", out / "importance.md")
        return [self._command("level-two", *words, makes=out / "level_two.json")]

    def folds(self) -> list[Step]:
        """A student of each fold and one of all shards; `student` then reads the five together."""
        stages = [(str(fold), f"fold{fold}/matrix.npz") for fold in range(FOLDS)]
        return [self._distil(fold, made) for fold, made in (*stages, ("none", "final/checkpoint.json"))]

    def bundle(self) -> list[Step]:
        final, bundle = self.out / "student" / "final", self.out / "bundles" / self.student
        cost = self.out / "student" / COST
        return [
            self._distil("all", DONE),
            self._command("export", final, "--out", self.out / "bundles", "--name", self.student, "--data",
                          self.data / "validate*.tfrecord", makes=bundle / "1" / "manifest.json"),
            self._module("cost", "scores", cost.parent, "--data", self.data, "--out", cost.parent, "--cost-only",
                         makes=cost),
        ]  # fmt: skip

    def generations(self) -> list[Step]:
        single = [self.out / "scores" / self.best.name / f"fold{fold}" / "test.npz" for fold in range(FOLDS)]
        matrices = {"single": single, **{name: [self.out / name / "test.npz"] for name in ("ensemble", "level_two")}}
        steps = [self._index(name, parts) for name, parts in matrices.items()]
        index = self.out / "index" / "student"
        words = (
            "--bundle",
            self.out / "bundles" / self.student,
            "--data",
            self.data / "test*.tfrecord",
            "--index",
            index,
        )
        return [*steps, Step(name="reindex", command=(self.serve, "reindex", *words), makes=index / "CURRENT")]

    def csvs(self) -> list[Step]:
        return [
            Step(
                name=f"submit {level}",
                command=(
                    self.serve,
                    "submit",
                    "--index",
                    self.out / "index" / level,
                    "--out",
                    self.out / f"{level}.csv",
                ),
                makes=self.out / f"{level}.csv",
            )
            for level in LEVELS
        ]

    def _index(self, name: str, matrices: Sequence[Path]) -> Step:
        index = self.out / "index" / name
        words = (index, *matrices, "--vocabulary", self.data / "vocabulary.csv", "--name", name)
        command = (self.serve, "index", "from-matrices", *words)
        return Step(name=f"index {name}", command=command, makes=index / "CURRENT")

    def _distil(self, fold: str, makes: str) -> Step:
        out = self.out / "student"
        words = ("--teachers", self.out / "teachers", "--student", self.student, "--data", self.data, "--out", out)
        stage1 = ("--stage1", self.folder_of(self.twin), "--fold", fold)
        return self._command("distil", *words, *stage1, makes=out / makes, name=f"student {fold}")

    def _command(self, command: str, *words: object, makes: Path, name: str = "") -> Step:
        return Step(name=name or command, command=(*own_process(command), *words), makes=makes)

    def _module(self, name: str, module: str, *words: object, makes: Path) -> Step:
        command = (sys.executable, "-m", f"segsearch.training.student.{module}", *words)
        return Step(name=name, command=command, makes=makes)
