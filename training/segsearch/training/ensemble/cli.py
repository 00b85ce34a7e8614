"""`segsearch ensemble`: several trained runs as one, with weights that are found and judged on different folds."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from segsearch.core.cli import emit
from segsearch.training.checks import one_of
from segsearch.training.ensemble.votes import WAYS


def ensemble(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of runs trained with --fold all, whose matrices are averaged.")
    ],
    data: Annotated[str, typer.Option(help="Folder of the rated shards that the runs were judged by.")],
    out: Annotated[Path, typer.Option(help="Folder for ensemble.json and the ensemble's own matrices.")],
    way: Annotated[
        str, typer.Option(help=f"What is averaged: {', '.join(WAYS)}. geometric: the mean of log probabilities.")
    ] = "probability",
    weights: Annotated[
        str, typer.Option(help="equal, greedy (forward selection) or searched (coordinate ascent from there).")
    ] = "searched",
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

    one_of("--way", way, WAYS)
    one_of("--weights", weights, tuple(FINDERS))
    folder = DataFolder.open(data)
    members = Members.open(runs, folder)
    ballot = Ballot.of(members, way, range(FOLDS))
    honest, final = nested(members, ballot, FINDERS[weights]), FINDERS[weights](ballot)
    out.mkdir(parents=True, exist_ok=True)
    write_folds(members, way, honest.weights, folder.segment_vocabulary, out)
    for name in others or ():
        write_others(members, name, way, final.tolist(), folder.segment_vocabulary, out)
    document: dict[str, Any] = {
        "way": way,
        "found_by": weights,
        "weights": dict(zip(members.names, final.tolist(), strict=True)),
        "weights_without_fold": [dict(zip(members.names, part, strict=True)) for part in honest.weights],
        "pooled_rated_map_at_100k": honest.pooled,
        "mean_rated_map_at_100k": honest.mean,
        "fold_rated_map_at_100k": list(honest.folds),
    }
    write_atomically(out / "ensemble.json", json.dumps(document, indent=1) + "\n")
    emit(**document)
