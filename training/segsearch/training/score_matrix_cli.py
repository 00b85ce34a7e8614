"""`segsearch score-matrix`: what a checkpoint says of every segment of some shards, as a matrix for later levels."""

from pathlib import Path
from typing import Annotated

import typer

from segsearch.core.cli import emit
from segsearch.training.backend import require_tensorflow


def score_matrix(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of a checkpoint, as `segsearch train` writes it.")],
    data: Annotated[list[str], typer.Option(help="Pattern of frame-level shards, a path or a URL; repeatable.")],
    out: Annotated[Path, typer.Option(help="The matrix, an .npz file; replaced if it is there.")],
    shift: Annotated[
        int, typer.Option(min=0, help="Take the mean over windows shifted by up to so many frames either way.")
    ] = 0,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out records that cannot be read, and say how many.")
    ] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Where files behind a URL are kept; default: ~/.cache/segsearch.")
    ] = None,
) -> None:
    """Score every segment of some shards with a checkpoint, as 16-bit codes with a segment table."""
    from segsearch.core.progress import say
    from segsearch.core.videos import Skips
    from segsearch.training.checkpoint import Checkpoint
    from segsearch.training.folder import CACHE
    from segsearch.training.input.remote import files_of

    shards = sorted({shard for pattern in data for shard in files_of(pattern, cache or CACHE)})
    found = Checkpoint.load(checkpoint)
    require_tensorflow("score-matrix")

    from segsearch.training.score_matrix import ScoreMatrix
    from segsearch.training.scoring import write_matrix

    skips = Skips() if skip_bad else None
    write_matrix(out, found, shards, shift, skips)
    if skips:
        say(skips.summary())
    matrix = ScoreMatrix.open(out)
    emit(
        matrix=str(out),
        videos=len(matrix.video_ids),
        segments=len(matrix),
        classes=len(matrix.label_indices),
        checkpoint=matrix.about.checkpoint,
        table=matrix.table_digest,
        held_out=matrix.about.held_out,
        skipped=len(skips) if skips is not None else 0,
    )
