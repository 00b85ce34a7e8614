"""`segsearch train`: an experiment from `runs/` on a data folder; TensorFlow comes in once everything is checked."""

import importlib
import os
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segsearch.core.cli import emit
from segsearch.core.errors import ConfigError
from segsearch.core.progress import say
from segsearch.training.backend import require_tensorflow
from segsearch.training.checks import at_least
from segsearch.training.cluster import check_cluster

if TYPE_CHECKING:
    from segsearch.training.config import RunConfig
    from segsearch.training.folder import DataFolder

SKIPPED_TOLD = 20  # bad records named on stdout; `mended/checked.json` names all


def train(
    run: Annotated[str, typer.Argument(help="An experiment: the name of a module in segsearch.training.runs.")],
    data: Annotated[
        str,
        typer.Option(
            help="Folder of shards, a path or a URL: train*.tfrecord, validate*.tfrecord, vocabulary.csv.",
            metavar="FOLDER",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints and metrics; the same command goes on in it.")],
    fold: Annotated[
        str, typer.Option(help="Rated shards to hold out: 0 to 4 (of five folds by file), all five in turn, or none.")
    ] = "none",
    stage1: Annotated[
        Path | None,
        typer.Option(
            help="Folder of another run of the same network, to start stage 2 from its stage 1.", metavar="RUN"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of weights, order and frames drawn.")] = 0,
    train_glob: Annotated[
        str | None, typer.Option("--train", help="Pattern of the shards with video labels, instead of the folder's.")
    ] = None,
    validate_glob: Annotated[
        str | None,
        typer.Option("--validate", help="Pattern of the shards with rated segments, instead of the folder's."),
    ] = None,
    unlabelled: Annotated[
        str | None,
        typer.Option(help="Pattern of shards for a mean teacher, if the run has one; default: the folder's test*."),
    ] = None,
    vocabulary: Annotated[str | None, typer.Option(help="Classes of stage 1, as CSV with Index and Name.")] = None,
    segment_labels: Annotated[
        str | None, typer.Option(help="Classes that stage 2 keeps, one label index a line; default: all.")
    ] = None,
    features: Annotated[
        str | None, typer.Option(help="Feature streams, as rgb:1024,audio:128; default: as the first record has them.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Where files behind a URL are kept; default: ~/.cache/segsearch.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting of the run, as in stage1.epochs=3; repeatable.")
    ] = None,
) -> None:
    """Train a network in two stages: on video labels, then on rated segments."""
    from segsearch.training.documents import changed
    from segsearch.training.folder import CACHE, DataFolder
    from segsearch.training.sizes import check_network

    require_tensorflow("train")
    config = changed(_run_config(run), changes or ())
    at_least("--seed", seed, 0)
    check_cluster(config.engine, os.environ.get("TF_CONFIG"))
    folds = _folds(fold)
    found = DataFolder.open(
        data,
        train=train_glob,
        rated=validate_glob,
        vocabulary=vocabulary,
        segment_labels=segment_labels,
        features=features,
        unlabelled=unlabelled,
        with_unlabelled=config.stage2.mean_teacher is not None,
        cache=cache or CACHE,
    )
    check_network(config.network, found.features, len(found.vocabulary))
    for number in folds:
        if number is not None:
            found.fold(number)
    if config.input.on_error == "skip":
        found = _without_bad_records(found, config, out)

    from segsearch.training.stages import Run

    trained = Run(config=config, data=found, out=out, seed=seed, start=stage1, report=emit)
    trained.stage_one()
    for number in folds:
        trained.stage_two(number)
    if len(folds) > 1:
        trained.summarise()


def _without_bad_records(data: "DataFolder", config: "RunConfig", out: Path) -> "DataFolder":
    usable = data.without_bad_records(out / "mended", config.stage2.labels.need_video_labels)
    if usable.skipped:
        say(f"{len(usable.skipped)} records are skipped; the first: {usable.skipped[0]}")
    emit(event="checked", skipped_records=len(usable.skipped), skipped=list(usable.skipped[:SKIPPED_TOLD]))
    return usable


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
