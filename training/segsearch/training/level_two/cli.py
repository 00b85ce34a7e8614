"""`segsearch level-two`: trees above an ensemble, each fold ranked by what the other folds' ratings teach."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from segsearch.core.cli import emit
from segsearch.core.errors import MissingExtra


def level_two(
    ensemble: Annotated[Path, typer.Argument(help="Folder of `segsearch ensemble`.")],
    runs: Annotated[list[Path], typer.Argument(help="Folders of the runs that it averages.")],
    data: Annotated[str, typer.Option(help="Folder of the rated shards that the runs were judged by.")],
    out: Annotated[Path, typer.Option(help="Folder for level_two.json and level two's own matrices.")],
    objective: Annotated[str, typer.Option(help="binary, or lambdarank with a class as a query.")] = "binary",
    weight: Annotated[
        float, typer.Option(min=0, max=1, help="Of level two's places against the ensemble's in the final order.")
    ] = 0.5,
    candidates: Annotated[
        int, typer.Option(min=1, help="Segments of a class that are ordered anew: the ensemble's best.")
    ] = 150_000,
    others: Annotated[
        list[str] | None,
        typer.Option("--also", help="Name of further matrices to order, as test for test.npz of the ensemble."),
    ] = None,
    importance: Annotated[
        Path | None, typer.Option(help="Markdown file for the features' shares of the gain; a picture goes beside it.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the rows and features that trees draw.")] = 0,
) -> None:
    """Order an ensemble's lists by trees that learned from rated segments."""
    try:
        from segsearch.training.level_two.ranker import RankerConfig
    except ModuleNotFoundError as error:
        raise MissingExtra("level-two", "train", error.name or "lightgbm") from None
    if importance is not None:
        try:
            from segsearch.training.level_two.importance import write_importance
        except ModuleNotFoundError as error:
            raise MissingExtra("level-two --importance", "plot", error.name or "matplotlib") from None
    from segsearch.core.files import write_atomically
    from segsearch.training.ensemble.members import Members
    from segsearch.training.folder import DataFolder
    from segsearch.training.level_two.levels import LevelTwo, OrderConfig

    config = RankerConfig(objective=objective, seed=seed)
    order = OrderConfig(candidates=candidates, weight=weight)
    folder = DataFolder.open(data)
    levels = LevelTwo.open(Members.open(runs, folder), ensemble, config, order)
    told: dict[str, Any] = {"objective": objective, "weight": weight, "candidates": candidates, "seed": seed}
    told |= levels.write_folds(folder.segment_vocabulary, out)
    for name in others or ():
        levels.write_others(name, folder.segment_vocabulary, out)
    if importance is not None:
        write_importance(told["importance"], importance)
    write_atomically(out / "level_two.json", json.dumps(told, indent=1) + "\n")
    emit(**told)
