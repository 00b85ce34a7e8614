"""Which features level two's trees gained from, as a picture and a table.

Where it stands: `levels` measures the shares, `cli` asks for this with `--importance`.
"""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from segsearch.core.files import write_atomically, writing_atomically

mpl.rcParams.update({"svg.hashsalt": "segsearch", "svg.fonttype": "none"})


def write_importance(importance: Mapping[str, float], path: Path) -> None:
    """`<path>` as Markdown, and `<path>.svg` beside it; importance: each feature's share of the gain, largest first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"| {name} | {share:.3f} |" for name, share in importance.items()]
    write_atomically(path, "\n".join(["| feature | share of gain |", "| --- | --- |", *rows]) + "\n")
    _draw(importance, path.with_suffix(".svg"))


def _draw(importance: Mapping[str, float], path: Path) -> None:
    names = list(importance)[::-1]  # the largest on top
    figure = Figure(figsize=(6, 0.22 * len(names) + 0.8), layout="constrained")
    axes = figure.subplots()
    axes.barh(names, [importance[name] for name in names], height=0.7)
    axes.set(xlabel="share of the trees' gain", ylim=(-1, len(names)))
    axes.tick_params(axis="y", labelsize="small")
    with writing_atomically(path) as file:
        figure.savefig(file, format="svg", metadata={"Date": None})
