"""`segsearch distil`: a small network that learns what an ensemble says of every segment."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from segsearch.core.cli import emit
from segsearch.core.errors import ConfigError
from segsearch.training.backend import require_tensorflow


class Divergence(StrEnum):
    """How far a student is from its teachers."""

    binary = "binary"
    softmax = "softmax"


def distil(
    teachers: Annotated[
        Path,
        typer.Option(
            help="Folder of `segsearch ensemble --teach learned`, or of a run that was scored in the same way."
        ),
    ],
    student: Annotated[
        str, typer.Option(help="dbof or nextvlad, -small, -medium or -large; or a run, as of `segsearch train`.")
    ],
    data: Annotated[str, typer.Option(help="Data folder, as of `segsearch train`.", metavar="FOLDER")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints and metrics; the same command goes on in it.")],
    fold: Annotated[
        str, typer.Option(help="Rated shards to hold out: 0 to 4 (of five folds by file), all five in turn, or none.")
    ] = "none",
    stage1: Annotated[
        Path | None,
        typer.Option(help="Folder of another run of the same network, to start from its stage 1.", metavar="RUN"),
    ] = None,
    temperature: Annotated[float, typer.Option(help="What logits are divided by before they are compared.")] = 1.0,
    label_weight: Annotated[
        float, typer.Option(help="Of people's ratings in the loss, 0 to 1; the rest follows the teachers.")
    ] = 0.25,
    divergence: Annotated[
        Divergence, typer.Option(help="binary: every class by itself; softmax: a segment's classes against each other.")
    ] = Divergence.binary,
    decay: Annotated[
        float | None, typer.Option("--ema", help="Decay of the average of weights; the run's own unless told.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order and frames drawn.")] = 0,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting of the run, as in stage2.epochs=3; repeatable."),
    ] = None,
) -> None:
    """Teach a small network what an ensemble says of every segment, rated or not."""
    import dataclasses

    from segsearch.training.config import AverageConfig
    from segsearch.training.documents import changed
    from segsearch.training.folder import DataFolder
    from segsearch.training.student.config import DistilConfig, student_run, taught

    distil_config = DistilConfig(temperature=temperature, label_weight=label_weight, divergence=divergence.value)
    config = taught(student_run(student))
    if decay is not None:
        average = AverageConfig(decay=decay, warm_up=False)
        config = dataclasses.replace(config, stage2=dataclasses.replace(config.stage2, average=average))
    config = changed(config, changes or ())
    folds = _folds(fold)
    folder = DataFolder.open(data, with_unlabelled=True)
    require_tensorflow("distil")

    from segsearch.training.student.run import StudentRun

    run = StudentRun(
        config=config, data=folder, out=out, seed=seed, start=stage1, report=emit, distil=distil_config,
        teachers=teachers,
    )  # fmt: skip
    for number in folds:
        run.lessons(number)  # what leaks or does not fit is better refused before stage 1 than after it
    run.stage_one()
    for number in folds:
        run.stage_two(number)
    if len(folds) > 1:
        run.summarise()


def _folds(text: str) -> list[int | None]:
    from segsearch.training.folder import FOLDS

    choices: dict[str, list[int | None]] = {"none": [None], "all": [*range(FOLDS)]}
    choices |= {str(number): [number] for number in range(FOLDS)}
    if text not in choices:
        raise ConfigError("--fold", text, f"one of {', '.join(choices)}")
    return choices[text]
