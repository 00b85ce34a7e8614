"""`segsearch train`: an experiment from `runs/` on a data folder; TensorFlow comes in once everything is checked."""

import importlib
import os
import pkgutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segsearch.core.cli import emit
from segsearch.core.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from segsearch.training.config import RunConfig


def train(
    run: Annotated[str, typer.Argument(help="An experiment: the name of a module in segsearch.training.runs.")],
    data: Annotated[Path, typer.Option(help="Folder of shards: train*.tfrecord, validate*.tfrecord, vocabulary.csv.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints and metrics; the same command goes on in it.")],
    fold: Annotated[
        str, typer.Option(help="Rated shards to hold out: 0 to 4 (of five folds by file), all five in turn, or none.")
    ] = "none",
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order and frames drawn.")] = 0,
    train_glob: Annotated[
        str | None, typer.Option("--train", help="Pattern of the shards with video labels, instead of the folder's.")
    ] = None,
    validate_glob: Annotated[
        str | None,
        typer.Option("--validate", help="Pattern of the shards with rated segments, instead of the folder's."),
    ] = None,
    vocabulary: Annotated[Path | None, typer.Option(help="Classes of stage 1, as CSV with Index and Name.")] = None,
    segment_labels: Annotated[
        Path | None, typer.Option(help="Classes that stage 2 keeps, one label index a line; default: all.")
    ] = None,
    features: Annotated[
        str | None, typer.Option(help="Feature streams, as rgb:1024,audio:128; default: as the first record has them.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting of the run, as in stage1.epochs=3; repeatable.")
    ] = None,
) -> None:
    """Train a network in two stages: on video labels, then on rated segments."""
    from segsearch.training.documents import changed
    from segsearch.training.folder import DataFolder

    _require_tensorflow()
    config = changed(_run_config(run), changes or ())
    folds = _folds(fold)
    found = DataFolder.open(
        data,
        train=train_glob,
        rated=validate_glob,
        vocabulary=vocabulary,
        segment_labels=segment_labels,
        features=features,
    )
    for number in folds:
        if number is not None:
            found.fold(number)

    from segsearch.training.stages import Run

    trained = Run(config=config, data=found, out=out, seed=seed, report=emit)
    trained.stage_one()
    for number in folds:
        trained.stage_two(number)
    if len(folds) > 1:
        trained.summarise()


def _run_config(name: str) -> "RunConfig":
    from segsearch.training import runs

    names = sorted(module.name for module in pkgutil.iter_modules(runs.__path__))
    if name not in names:
        raise ConfigError("RUN", name, f"one of {', '.join(names)}")
    config: RunConfig = importlib.import_module(f"{runs.__name__}.{name}").RUN
    return config


def _folds(text: str) -> list[int | None]:
    from segsearch.training.folder import FOLDS

    choices = {"none": [None], "all": [*range(FOLDS)], **{str(number): [number] for number in range(FOLDS)}}
    if text not in choices:
        raise ConfigError("--fold", text, f"one of {', '.join(choices)}")
    return choices[text]


def _require_tensorflow() -> None:
    for module in ("tensorflow", "keras"):
        if find_spec(module) is None:
            raise MissingExtra("train", "train", module)
    # Its C++ side logs every start-up detail otherwise; warnings and errors still come through.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # ours is TensorFlow code, whatever the user's Keras prefers
