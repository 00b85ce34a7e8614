"""`segsearch ensemble`: several trained runs as one, with weights that are found and judged on different folds."""

import json
import tempfile
from dataclasses import asdict
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
    lessons: Annotated[
        list[str] | None,
        typer.Option(
            "--teach",
            help="Name of further matrices to average fold by fold, for students: fold0/NAME.npz ... of each run.",
        ),
    ] = None,
    video_power: Annotated[
        float, typer.Option(min=0, max=0.99, help="The video's share in the geometric mean of segment and video.")
    ] = 0.0,
    skip_first_s: Annotated[
        int, typer.Option(min=0, help="Segments in a video's first seconds rank behind all others.")
    ] = 0,
    skip_last_s: Annotated[int, typer.Option(min=0, help="Those in its last seconds, too.")] = 0,
    smoothing: Annotated[
        float, typer.Option(min=0, max=0.99, help="The share that the segments before and after have in a score.")
    ] = 0.0,
) -> None:
    """Average the scores of several runs, each fold weighed by what the other folds say."""
    from segsearch.core.files import write_atomically
    from segsearch.training.ensemble.blend import Blending, write_folds, write_lessons, write_others
    from segsearch.training.ensemble.candidates import CandidateRules
    from segsearch.training.ensemble.members import Members
    from segsearch.training.ensemble.ruled import ruled_runs
    from segsearch.training.ensemble.weights import FINDERS, Ballot, figures_of, nested
    from segsearch.training.folder import FOLDS, DataFolder

    rules = CandidateRules(
        video_power=video_power, skip_first_s=skip_first_s, skip_last_s=skip_last_s, smoothing=smoothing
    )
    folder = DataFolder.open(data)
    vocabulary = folder.segment_vocabulary
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".ruled-", dir=out) as ruled:
        members = Members.open(runs, folder)
        if rules:
            names = dict.fromkeys(("matrix", *(others or ()), *(lessons or ())))
            members = Members.open(ruled_runs(runs, rules, list(names), vocabulary, Path(ruled)), folder)
        find = FINDERS[weights.value]
        ballot = Ballot.of(members, way.value, range(FOLDS))
        honest, final = nested(members, ballot, find), find(ballot)
        blending = Blending(way=way.value, vocabulary=vocabulary)
        write_folds(members, blending, honest.weights, out)
        for name in others or ():
            write_others(members, name, blending, final.tolist(), out)
        for name in lessons or ():
            write_lessons(members, name, blending, honest.weights, out)
    document: dict[str, Any] = {
        "way": way.value,
        "found_by": weights.value,
        "rules": asdict(rules),
        "weights": dict(zip(members.names, final.tolist(), strict=True)),
        "weights_without_fold": [dict(zip(members.names, part, strict=True)) for part in honest.weights],
        **figures_of(members, out),
    }
    write_atomically(out / "ensemble.json", json.dumps(document, indent=1) + "\n")
    emit(**document)
