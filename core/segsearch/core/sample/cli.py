"""`segsearch sample`: makes a folder of made-up videos that training, export and reindex can be tried on."""

from pathlib import Path
from typing import Annotated

import typer

from segsearch.core.cli import emit
from segsearch.core.progress import progress, say
from segsearch.core.sample.names import FAMILY_SIZE, MOST_CLASSES


def sample(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make; a new or an empty one.")],
    videos: Annotated[int, typer.Option(help="Videos in all, 10 or more: 60 % train, 20 % validate, 20 % test.")] = 400,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 1,
    classes: Annotated[
        int, typer.Option(help=f"{FAMILY_SIZE} to {MOST_CLASSES} classes, in families of three that are alike.")
    ] = 24,
) -> None:
    """Make sample data: videos in YouTube-8M's wire format, with labels, rated segments and a test split's truth."""
    from dataclasses import asdict

    from segsearch.core.sample.folder import Parameters, held_sample, write_sample

    parameters = Parameters(videos, seed, classes)
    held = held_sample(out, parameters)
    if held is not None:
        say(f"{out} holds this very sample already; nothing to do")
    else:
        with progress("sample", videos, "videos") as advance:
            made = write_sample(out, parameters, advance)
    emit(sample=str(out), written=held is None, **asdict(parameters), **asdict(held or made))
