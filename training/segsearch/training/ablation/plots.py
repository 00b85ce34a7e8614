"""The report's pictures, as SVG: the same results give the same bytes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from segsearch.core.files import writing_atomically
from segsearch.training.ablation.results import Result

mpl.rcParams.update({"svg.hashsalt": "segsearch", "svg.fonttype": "none", "axes.grid": True, "grid.alpha": 0.3})
AXIS = "rated MAP@100k, mean of five folds"


def draw_curves(path: Path, rows: Mapping[str, Result]) -> None:
    """Rated MAP after each epoch of stage 2, the mean over folds; rows by what to call them."""
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axes = figure.subplots()
    for number, (label, row) in enumerate(rows.items()):
        means = row.curves.mean(axis=0)
        axes.plot(np.arange(1, len(means) + 1), means, "-" if number < 10 else "--", label=label)
    axes.set(xlabel="epoch of stage 2", ylabel=AXIS)
    figure.legend(loc="outside right center", fontsize="small")
    _save(figure, path)


def draw_sweep(path: Path, name: str, labels: Sequence[str], rows: Sequence[Result]) -> None:
    """Rated MAP against one setting; bars are the deviation over folds."""
    figure = Figure(figsize=(5.5, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.errorbar(labels, [row.mean for row in rows], [row.deviation for row in rows], marker="o", capsize=3)
    axes.set(xlabel=name, ylabel=AXIS)
    _save(figure, path)


def draw_classes(path: Path, names: Mapping[int, str], row: Result, other: Result, labels: tuple[str, str]) -> None:
    """Each class's average precision in two rows, the best class of `row` on top."""
    classes = sorted(row.by_class, key=row.by_class.__getitem__)
    places = np.arange(len(classes))
    figure = Figure(figsize=(7, 0.16 * len(classes) + 1), layout="constrained")
    axes = figure.subplots()
    axes.barh(places, [row.by_class[label] for label in classes], height=0.7, alpha=0.6, label=labels[0])
    axes.plot([other.by_class[label] for label in classes], places, "k.", markersize=4, label=labels[1])
    axes.set_yticks(places, [names.get(label, str(label)) for label in classes], fontsize=6)
    axes.set(xlabel="average precision, five folds pooled", ylim=(-1, len(classes)))
    axes.legend(loc="lower right")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing_atomically(path) as file:
        figure.savefig(file, format="svg", metadata={"Date": None})
