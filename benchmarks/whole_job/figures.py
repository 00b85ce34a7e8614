"""The pictures of `docs/performance.md`, as SVG: where a segment's time goes, beside whom, and along the library."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from starter_manner import Cost
from whole_job.job import Job, Stage
from whole_job.library import FULL_SEGMENTS

from segsearch.core.files import writing_atomically

mpl.rcParams.update({"svg.hashsalt": "segsearch", "svg.fonttype": "none", "axes.grid": True, "grid.alpha": 0.3})


def draw(folder: Path, full: Sequence[Stage], starter: Mapping[str, Cost], job: Job) -> None:
    """full: the job's stages at full size."""
    folder.mkdir(parents=True, exist_ok=True)
    _draw_stages(folder / "stages.svg", full)
    _draw_starter(folder / "starter.svg", full, starter)
    _draw_curve(folder / "growth.svg", job)


def _draw_stages(path: Path, full: Sequence[Stage]) -> None:
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh([stage.name for stage in full], [1e3 * stage.cpu_s / FULL_SEGMENTS for stage in full])
    axes.bar_label(bars, fmt="%.4f", padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set(xlabel="CPU ms a segment, at full size")
    _save(figure, path)


def _draw_starter(path: Path, full: Sequence[Stage], starter: Mapping[str, Cost]) -> None:
    ours = 1e3 * sum(stage.cpu_s for stage in full) / FULL_SEGMENTS
    bars = {"segsearch": ours, **{f"starter manner,\n{name}": spent.ms_a_segment for name, spent in starter.items()}}
    figure = Figure(figsize=(7, 2.5), layout="constrained")
    axes = figure.subplots()
    axes.bar_label(axes.barh(list(bars), list(bars.values())), fmt="%.2f", padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set(xlabel="CPU ms a segment")
    _save(figure, path)


def _draw_curve(path: Path, job: Job) -> None:
    segments, seconds = zip(*job.curve, strict=True)
    each = [1e3 * spent / count for count, spent in zip(segments, seconds, strict=True)]
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot(segments, each, marker=".")
    axes.set(xlabel="segments so far", ylabel="CPU ms a segment so far", ylim=(0, None))
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with writing_atomically(path) as file:
        figure.savefig(file, format="svg", metadata={"Date": None})
