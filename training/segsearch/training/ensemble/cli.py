"""`segsearch ensemble`: several trained runs as one, with weights that are found and judged on different folds."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from segsearch.core.cli import emit


class Way(StrEnum):
    """What is averaged."""

    probability = "probability"
    geometric = "geometric"
    logit = "logit"
    rank = "rank"


class Found(StrEnum):
    """How weights are found."""

    equal = "equal"
    greedy = "greedy"
    searched = "searched"


def ensemble(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of runs trained with --fold all, whose matrices are averaged.")
    ],
    data: Annotated[str, typer.Option(help="Folder of the rated shards that the runs were judged by.")],
    out: Annotated[Path, typer.Option(help="Folder for ensemble.json and the ensemble's own matrices.")],
    way: Annotated[
        Way, typer.Option(help="What is averaged. geometric: the mean of log probabilities.")
    ] = Way.probability,
    weights: Annotated[
        Found, typer.Option(help="greedy: by forward selection; searched: by coordinate ascent from there.")
    ] = Found.searched,
    others: Annotated[
        list[str] | None,
        typer.Option(
            "--also",
            help="Name of further matrices to average, as test for fold0/test.npz to fold4/test.npz of each run.",
        ),
    ] = None,
) -> None:
    """Average the scores of several runs, each fold weighed by what the other folds say."""
    from segsearch.core.files import write_atomically
    from segsearch.training.ensemble.blend import write_folds, write_others
    from segsearch.training.ensemble.members import Members
    from segsearch.training.ensemble.weights import FINDERS, Ballot, nested
    from segsearch.training.folder import FOLDS, DataFolder

    folder = DataFolder.open(data)
    members = Members.open(runs, folder)
    find = FINDERS[weights.value]
    ballot = Ballot.of(members, way.value, range(FOLDS))
    honest, final = nested(members, ballot, find), find(ballot)
    out.mkdir(parents=True, exist_ok=True)
    write_folds(members, way.value, honest.weights, folder.segment_vocabulary, out)
    for name in others or ():
        write_others(members, name, way.value, final.tolist(), folder.segment_vocabulary, out)
    document: dict[str, Any] = {
        "way": way.value,
        "found_by": weights.value,
        "weights": dict(zip(members.names, final.tolist(), strict=True)),
        "weights_without_fold": [dict(zip(members.names, part, strict=True)) for part in honest.weights],
        "pooled_rated_map_at_100k": honest.pooled,
        "mean_rated_map_at_100k": honest.mean,
        "fold_rated_map_at_100k": list(honest.folds),
    }
    write_atomically(out / "ensemble.json", json.dumps(document, indent=1) + "\n")
    emit(**document)
