"""`make student`: base models, their ensemble, level two, the student, its bundle, and each level's submission.

Where it stands: every step is a command that a user could type, run by `steps`; `variants` has those that only compare;
`report` reads what all of them left.

    <out>/runs/        base models, and each student's kind and size on labels alone, as `segsearch train` leaves them
    <out>/scores/      what each base model says of everything (`scores`)
    <out>/ensemble/    by ranks, which forget how sure a model was; <out>/teachers/ by probability, to learn from
    <out>/level_two/   trees above the ensemble
    <out>/students/    of each: five folds to be judged by; of the one that is deployed `final`, to be used
    <out>/bundles/     the student's bundle and model card
    <out>/index/       a generation of each level, <out>/submissions/ its CSV; the student's and the single model's
                       carry the network's name, as another may be chosen later
    <out>/{single,ensemble,level_two,student}.csv, the submissions that count
    <out>/variants/    other ensembles and trees; <out>/sizes/ bundles of networks that are not deployed
    <out>/seeds/1/     runs, scores, ensemble, teachers, level_two and students once more, from another seed
"""

import dataclasses
import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from segsearch.core.cli import own_process
from segsearch.core.files import writing_atomically
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
# At twice the weight trees gain two thirds more on rated pairs, and lose more than twice as much on what nobody rated.
LEVEL_TWO = ("--weight", "0.25")
TEACHERS = ("--way", "probability", "--weights", "equal", "--smoothing", "0.1")
LEVELS = ("single", "ensemble", "level_two", "student")
STUDENTS = tuple(f"{kind}-{size}" for kind in ("dbof", "nextvlad") for size in ("small", "medium", "large"))


def _is_short(what: Row | Step) -> bool:
    """Of rows and steps of all networks: the others come first, so that no core waits at the end for one of them."""
    return "dbof" in what.name


def twin_of(student: str) -> Row:
    """A student's kind and size on labels alone; of a middling one the ablation's own run."""
    kind, _, size = student.partition("-")
    if size == "medium":
        return Row(name=kind, run=f"{kind}_audioset")
    run = f"{kind}_{size}{SUFFIX}"
    return Row(name=run, run=run)


@dataclass(frozen=True, kw_only=True)
class Line:
    """All of it, on one data folder, for one student that is deployed; each call goes on behind what is done.

    Calls raise RowFailed or StepFailed.
    """

    data: Path
    out: Path
    student: str  # as dbof-small
    serve: Path  # the program `segsearch` of the serving environment
    trained: Path | None = None  # a folder in which some runs may lie finished, from seed 0
    workers: int = 2
    seed: int = 0

    def seeded(self, seed: int) -> "Line":
        """The same from another seed, in a folder of its own; from seed 0 it is this one."""
        if not seed:
            return self
        return dataclasses.replace(self, seed=seed, out=self.out / "seeds" / str(seed), trained=None)

    def measure(self) -> None:
        """What each level is judged by."""
        self._train(sorted([twin_of(self.student), *BASE], key=_is_short))
        self.run(self.scores(), self.ensembles(), [*self.level_two(), *self.folds(self.student)])
        self.run(self.together(self.student))

    def deploy(self) -> None:
        """The student of all shards, its bundle, and each level's submission."""
        self.run(self.final(), self.bundle(), self.generations(), self.csvs())
        self.publish()

    def publish(self) -> None:
        """Each level's submission under its plain name, whatever network was there before."""
        for level in LEVELS:
            with self.submission(level).open("rb") as source, writing_atomically(self.out / f"{level}.csv") as target:
                shutil.copyfileobj(source, target)

    def compare(self, students: Sequence[str]) -> None:
        """Students of other kinds and sizes, and what every network's bundle weighs."""
        longest_first = students[::-1]  # as `STUDENTS` has them, so that no core waits at the end
        self._train(map(twin_of, longest_first))
        self.run([self._distil(student, "all", DONE) for student in longest_first])
        self.run([*map(self._cost, students), *self.sizes(students)])

    def run(self, *groups: Sequence[Step]) -> None:
        """One group of steps after the other; within a group no step needs another."""
        for steps in groups:
            run_steps(steps, self.logs, self.workers)

    def folder_of(self, row: Row) -> Path:
        """Where a row's run lies: a finished one of its own comes first, so that a line that goes on keeps it."""
        runs = self.out / "runs"
        if self.trained is not None and not is_done(runs, row.name) and is_done(self.trained, row.name):
            return self.trained / row.name
        return runs / row.name

    def folder_of_student(self, student: str) -> Path:
        return self.out / "students" / student

    @property
    def logs(self) -> Path:
        return self.out / "logs"

    @property
    def best(self) -> Row:
        """The base model with the best mean of folds."""
        return max(BASE, key=lambda row: json.loads((self.folder_of(row) / DONE).read_text())["mean_rated_map_at_100k"])

    @property
    def score_folders(self) -> list[Path]:
        """Of each base model."""
        return [self.out / "scores" / row.name for row in BASE]

    def scores(self) -> list[Step]:
        steps = [
            self.module(
                f"scores {row.name}", "scores", self.folder_of(row), "--data", self.data, "--out", out, makes=out / COST
            )
            for row, out in zip(BASE, self.score_folders, strict=True)
        ]
        return sorted(steps, key=_is_short)

    def ensembles(self) -> list[Step]:
        names = self.score_folders
        taught = [word for name in ("learned", "train", "test") for word in ("--teach", name)]
        ensemble, teachers = self.out / "ensemble", self.out / "teachers"
        return [
            self.command("ensemble", *names, "--data", self.data, "--out", ensemble, *ENSEMBLE, "--also", "test",
                         makes=ensemble / "ensemble.json"),
            self.command("ensemble", *names, "--data", self.data, "--out", teachers, *TEACHERS, "--also", "test",
                         "--also", "train", *taught, makes=teachers / "ensemble.json", name="ensemble that teaches"),
        ]  # fmt: skip

    def level_two(self) -> list[Step]:
        out = self.out / "level_two"
        words = (self.out / "ensemble", *self.score_folders, "--data", self.data, "--out", out, *LEVEL_TWO)
        words = (*words, "--seed", self.seed, "--also", "test", "--importance", out / "importance.md")
        return [self.command("level-two", *words, makes=out / "level_two.json")]

    def folds(self, student: str) -> list[Step]:
        """A student of each fold."""
        return [self._distil(student, str(fold), f"fold{fold}/matrix.npz") for fold in range(FOLDS)]

    def together(self, student: str) -> list[Step]:
        """The five folds together, and what the student costs."""
        return [self._distil(student, "all", DONE), self._cost(student)]

    def final(self) -> list[Step]:
        """The student of all shards."""
        return [self._distil(self.student, "none", "final/checkpoint.json")]

    def bundle(self) -> list[Step]:
        return [self._export(self.student, self.folder_of_student(self.student) / "final", self.out / "bundles")]

    def sizes(self, students: Iterable[str]) -> list[Step]:
        """Bundles of one network each: of every base model and of other students, only to be weighed."""
        networks = {row.name: self.folder_of(row) for row in BASE}
        networks |= {student: self.folder_of_student(student) for student in students}
        return [self._export(name, folder / "fold0", self.out / "sizes") for name, folder in networks.items()]

    def bundle_of(self, name: str) -> Path:
        """Where a network's bundle lies, if it was exported: a base model's or a student's."""
        return self.out / ("bundles" if name == self.student else "sizes") / name / "1"

    def generations(self) -> list[Step]:
        single = [self.out / "scores" / self.best.name / f"fold{fold}" / "test.npz" for fold in range(FOLDS)]
        matrices = {"single": single, **{name: [self.out / name / "test.npz"] for name in ("ensemble", "level_two")}}
        index, bundle = self.index_of("student"), self.out / "bundles" / self.student
        words = ("--bundle", bundle, "--data", self.data / "test*.tfrecord", "--index", index)
        reindex = Step(name=f"index {index.name}", command=(self.serve, "reindex", *words), makes=index / "CURRENT")
        return [*(self._index(level, parts) for level, parts in matrices.items()), reindex]

    def csvs(self) -> list[Step]:
        return [self._submit(self.index_of(level), self.submission(level)) for level in LEVELS]

    def index_of(self, level: str) -> Path:
        """Where a level's generation lies, by the network's name where that is not always the same."""
        networks = {"single": self.best.name, "student": self.student}
        return self.out / "index" / (f"{level}-{networks[level]}" if level in networks else level)

    def submission(self, level: str) -> Path:
        return self.out / "submissions" / f"{self.index_of(level).name}.csv"

    def command(self, command: str, *words: object, makes: Path, name: str = "") -> Step:
        """A subcommand of `segsearch`."""
        return Step(name=name or command, command=(*own_process(command), *words), makes=makes)

    def module(self, name: str, module: str, *words: object, makes: Path) -> Step:
        """A module beside this one."""
        command = (sys.executable, "-m", f"segsearch.training.student.{module}", *words)
        return Step(name=name, command=command, makes=makes)

    def _train(self, rows: Iterable[Row]) -> None:
        runs = self.out / "runs"
        waiting = [row for row in rows if self.folder_of(row) == runs / row.name]
        Queue(rows=waiting, data=str(self.data), out=runs, workers=self.workers, seed=self.seed).run()

    def _distil(self, student: str, fold: str, makes: str) -> Step:
        out = self.folder_of_student(student)
        words = ("--teachers", self.out / "teachers", "--student", student, "--data", self.data, "--out", out)
        start = ("--stage1", self.folder_of(twin_of(student)), "--fold", fold, "--seed", self.seed)
        return self.command("distil", *words, *start, makes=out / makes, name=f"student {student} {fold}")

    def _cost(self, student: str) -> Step:
        out, name = self.folder_of_student(student), f"student {student} cost"
        return self.module(name, "scores", out, "--data", self.data, "--out", out, "--cost-only", makes=out / COST)

    def _export(self, name: str, checkpoint: Path, out: Path) -> Step:
        words = (checkpoint, "--out", out, "--name", name, "--data", self.data / "validate*.tfrecord")
        return self.command("export", *words, makes=out / name / "1" / "manifest.json", name=f"bundle {name}")

    def _index(self, level: str, matrices: Sequence[Path]) -> Step:
        index = self.index_of(level)
        words = (index, *matrices, "--vocabulary", self.data / "vocabulary.csv", "--name", index.name)
        command = (self.serve, "index", "from-matrices", *words)
        return Step(name=f"index {index.name}", command=command, makes=index / "CURRENT")

    def _submit(self, index: Path, path: Path) -> Step:
        command = (self.serve, "submit", "--index", index, "--out", path)
        return Step(name=f"submit {index.name}", command=command, makes=path)
