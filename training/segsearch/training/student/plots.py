"""The picture of quality against cost, as SVG: the same figures give the same bytes."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from segsearch.core.files import writing_atomically

mpl.rcParams.update({"svg.hashsalt": "segsearch", "svg.fonttype": "none", "axes.grid": True, "grid.alpha": 0.3})


def draw_pareto(path: Path, points: Sequence[tuple[str, float, float]]) -> None:
    """points: name, CPU microseconds a segment, rated MAP. The line joins those that nothing cheaper betters."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, cost, value in points:
        axes.plot(cost, value, "o")
        axes.annotate(name, (cost, value), textcoords="offset points", xytext=(5, 4), fontsize="small")
    front = pareto_front([(cost, value) for _, cost, value in points])
    axes.step(*zip(*front, strict=True), "k--", where="post", linewidth=1)
    axes.set(xscale="log", xlabel="CPU microseconds a segment", ylabel="rated MAP@100k, mean of five folds")
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing_atomically(path) as file:
        figure.savefig(file, format="svg", metadata={"Date": None})


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (cost, value) points those that no other matches at lower cost, cheapest first."""
    front: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or value > front[-1][1]:
            front.append((cost, value))
    return front
