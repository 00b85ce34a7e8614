"""`segsearch bundle verify|show|diff`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from segsearch.core.cli import emit


class Action(StrEnum):
    """What to do with bundles."""

    verify = "verify"
    show = "show"
    diff = "diff"


def bundle(
    action: Annotated[
        Action, typer.Argument(help="verify: let every model prove itself; show: what it is; diff: two side by side.")
    ],
    paths: Annotated[list[Path], typer.Argument(help="Bundle, <name>/<version> or <name>; two of them for diff.")],
    key: Annotated[
        Path | None, typer.Option(help="verify: public key (PEM) that the bundle must be signed with.")
    ] = None,
) -> None:
    """Check, describe or compare model bundles."""
    from segsearch.core.bundle import Bundle
    from segsearch.service.scoring.bundle_report import compared, described, verified
    from segsearch.service.scoring.signed import check_signature

    if len(paths) != (2 if action is Action.diff else 1):
        raise typer.BadParameter("diff takes two bundles, verify and show take one")
    if key is not None and action is not Action.verify:
        raise typer.BadParameter("--key goes with verify")
    opened = [Bundle.open(path) for path in paths]
    if action is Action.show:
        emit(**described(opened[0]))
    elif action is Action.verify:
        if key is not None:
            check_signature(opened[0], key)
            emit(signed_with=str(key), bundle=str(opened[0].directory))
        for facts in verified(opened[0]):
            emit(**facts)
    else:
        emit(**compared(*opened))
