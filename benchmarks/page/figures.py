"""The pictures of `docs/performance.md`, as SVG, from what runs have written down.

Where it stands: `performance_page` calls one function a run. The same figures make the same bytes.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from page.tables import SEARCH_RATIO
from report import Curve, Document

from segsearch.core.files import writing_atomically

mpl.rcParams.update({"svg.hashsalt": "segsearch", "svg.fonttype": "none", "axes.grid": True, "grid.alpha": 0.3})

CPU_MS = "CPU ms a segment"


def headline(folder: Path, run: Document) -> None:
    """Where a segment's time goes, beside whom, and along the library."""
    costs = {m.name: m.value for m in run.measures if m.unit == "ms CPU a segment"}
    stages = {name.removeprefix("ours, "): cost for name, cost in costs.items() if name.startswith("ours, ")}
    _bars(folder / "stages.svg", stages, "%.4f", f"{CPU_MS}, at full size", height=3)
    whole = {name: cost for name, cost in costs.items() if re.fullmatch(r"ours|starter manner, .* classes", name)}
    named = {name.replace("ours", "segsearch").replace("manner, ", "manner,\n"): cost for name, cost in whole.items()}
    _bars(folder / "starter.svg", named, "%.2f", CPU_MS, height=2.5)
    for curve in run.curves.values():
        _along_the_library(folder / "growth.svg", curve)


def _along_the_library(path: Path, curve: Curve) -> None:
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    _line(axes, [(segments, 1e3 * seconds / segments) for segments, seconds in curve])
    axes.set(xlabel="segments so far", ylabel=f"{CPU_MS} so far", ylim=(0, None))
    _save(figure, path)


def scaling(folder: Path, run: Document) -> None:
    """A segment's cost by the number of segments, by that of classes, and by who scores."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    _lines(left, {name: curve for name, curve in run.curves.items() if not name.startswith("classes")})
    left.set(xlabel="segments", ylabel=CPU_MS, xscale="log", ylim=(0, None))
    _line(right, run.curves["classes"])
    right.set(xlabel="classes", ylabel=f"{CPU_MS}, stream alone", ylim=(0, None))
    _save(figure, folder / "scaling.svg")
    workers = {m.name: m.value for m in run.measures if m.unit == "ms wall a segment"}
    _bars(folder / "workers.svg", workers, "%.3f", "ms a segment by the clock, stream alone", height=1.8)


def search_peers(folder: Path, run: Document) -> None:
    """How many times as long as ours databases take, at the median."""
    found = [(SEARCH_RATIO.fullmatch(m.name), m.value) for m in run.measures]
    bars = {
        f"{match['row'].removesuffix(', median')}, {match['peer']}": value
        for match, value in found
        if match and match["row"].endswith("median")
    }
    _bars(folder / "search-peers.svg", bars, "%.3g", "median time / ours (ours = 1)", height=4.5, scale="log")


def serving_peers(folder: Path, run: Document) -> None:
    """How many times as much as other servers ours answers, by the clock."""
    bars = {m.name: m.value for m in run.measures if not m.unit and " / " in m.name}
    _bars(folder / "serving-peers.svg", bars, "%.3g", "ours / theirs, rate by the clock", height=3.5, scale="log")


def _bars(path: Path, bars: Mapping[str, float], form: str, label: str, height: float, scale: str = "linear") -> None:
    if not bars:
        return
    figure = Figure(figsize=(7, height), layout="constrained")
    axes = figure.subplots()
    axes.bar_label(axes.barh(list(bars), list(bars.values())), fmt=form, padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set(xlabel=label, xscale=scale)
    if scale == "log":
        axes.axvline(1, color="black", linewidth=1)
    _save(figure, path)


def _lines(axes: Axes, curves: Mapping[str, Curve]) -> None:
    for name, curve in curves.items():
        _line(axes, curve, name)
    axes.legend()


def _line(axes: Axes, curve: Curve, name: str | None = None) -> None:
    axes.plot(*zip(*curve, strict=True), marker=".", label=name)


def _save(figure: Figure, path: Path) -> None:
    with writing_atomically(path) as file:
        figure.savefig(file, format="svg", metadata={"Date": None})
