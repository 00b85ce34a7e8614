"""Writes what the rows gave into a Markdown file: tables and pictures between markers, the words around them stay.

A block reads `<!-- table-1 -->` ... `<!-- /table-1 -->`. A file that does not exist yet starts with all blocks.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from segsearch.core.errors import DataError
from segsearch.core.files import write_atomically
from segsearch.core.progress import say
from segsearch.training.ablation.plots import draw_classes, draw_curves, draw_sweep
from segsearch.training.ablation.results import Result, class_names
from segsearch.training.ablation.rows import (
    CONTEXTS,
    DECAYS,
    NO_DIVERGENCE,
    STRUCTURES,
    TABLE_ONE,
    TEMPERATURES,
    Row,
    alone,
    context_row,
    decay_row,
    rows,
    temperature_row,
)

BLOCKS = ("table-1", "table-2", "context", "decay", "temperature", "curves", "classes", "cost")


def write_report(out: Path, path: Path, data: str) -> None:
    """Reads every row below `out` and renews the blocks of `path`; pictures go to a folder of its name beside it."""
    results = {row.name: Result.read(out, row.name) for row in rows()}
    pictures = path.with_suffix("")
    best = max((results[name] for name in STRUCTURES), key=lambda row: row.pooled)
    draw_curves(pictures / "curves.svg", {label: results[name] for name, label in STRUCTURES.items()})
    draw_classes(
        pictures / "classes.svg", class_names(data), best, results["dbof_plain"], (STRUCTURES[best.name], "plain DBoF")
    )
    sweeps = {
        "context": ("context frames each side", {str(n): results[context_row(n)] for n in CONTEXTS}),
        "decay": ("EMA decay", {_decay(d): results[decay_row(d)] for d in (None, *DECAYS)}),
        "temperature": ("temperature", {f"{t:g}": results[temperature_row(t)] for t in TEMPERATURES}),
    }
    sweeps["temperature"][1]["no divergence"] = results[NO_DIVERGENCE]
    blocks = {"table-1": _table_one(results), "table-2": _table_two(results), "cost": _cost(rows(), results)}
    for name, (title, swept) in sweeps.items():
        draw_sweep(pictures / f"{name}.svg", title, list(swept), list(swept.values()))
        blocks[name] = f"{_sweep(title, swept)}\n\n![MAP against {title}]({pictures.name}/{name}.svg)"
    blocks["curves"] = f"![MAP after each epoch]({pictures.name}/curves.svg)"
    blocks["classes"] = f"![average precision of each class]({pictures.name}/classes.svg)"
    write_atomically(path, renewed(path, blocks))
    say(f"{path} written")


def renewed(path: Path, blocks: Mapping[str, str]) -> str:
    """The file's text with each block's content replaced; raises DataError where it has no such block."""
    text = path.read_text() if path.exists() else _empty()
    for name, content in blocks.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        text, count = re.subn(pattern, lambda found, new=content: f"{found[1]}{new}\n{found[2]}", text, flags=re.DOTALL)
        if count != 1:
            raise DataError(path, None, f"<!-- {name} -->", f"{count} blocks", "one")
    return text


def _empty() -> str:
    return "# Results\n\n" + "\n\n".join(f"<!-- {name} -->\n<!-- /{name} -->" for name in BLOCKS) + "\n"


def _table_one(results: Mapping[str, Result]) -> str:
    lines, above = [], None
    for name, label in TABLE_ONE.items():
        row = results[name]
        gain = "" if above is None else _signed(*row.gain_over(above))
        lines.append((label, _figure(row), f"{row.pooled:.4f}", gain, f"{row.parameters:,}"))
        above = row
    header = ("model", "mean of folds ± deviation", "pooled", "over the row above ± standard error", "parameters")
    return _table(header, lines)


def _table_two(results: Mapping[str, Result]) -> str:
    lines = []
    for name, label in sorted(STRUCTURES.items(), key=lambda item: -results[item[0]].pooled):
        row, without = results[name], results[alone(name)]
        gain = _signed(*row.gain_over(without))
        figures = (_figure(row), f"{row.pooled:.4f}", _figure(without), f"{without.pooled:.4f}", gain)
        lines.append((label, *figures, f"{row.parameters:,}", f"{row.cpu_seconds / 60:.1f}"))
    header = ("structure", "with context", "pooled", "without", "pooled", "context brings", "parameters", "CPU min")
    return _table(header, lines)


def _sweep(title: str, swept: Mapping[str, Result]) -> str:
    return _table(
        (title, "mean of folds", "pooled"), [(k, _figure(row), f"{row.pooled:.4f}") for k, row in swept.items()]
    )


def _cost(trained: Sequence[Row], results: Mapping[str, Result]) -> str:
    hours = sum(results[row.name].cpu_seconds for row in trained) / 3600
    return f"{len(trained)} rows of five folds: {hours:.1f} hours of CPU in all."


def _table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ("---",) * len(header), *lines))


def _figure(row: Result) -> str:
    return f"{row.mean:.4f} ± {row.deviation:.4f}"


def _signed(mean: float, error: float) -> str:
    return f"{mean:+.4f} ± {error:.4f}"


def _decay(decay: float | None) -> str:
    return "none" if decay is None else f"{decay:g}"
