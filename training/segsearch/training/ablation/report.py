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
from segsearch.training.ablation.queue import is_done
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

Results = Mapping[str, Result]
BLOCKS = ("table-1", "table-2", "context", "decay", "temperature", "curves", "classes", "cost")


def write_report(out: Path, path: Path, data: str) -> None:
    """Reads every row that is done below `out` and renews the blocks of `path`, blank where a row is not done yet;
    pictures go to a folder of its name beside it.
    """
    trained = rows()
    results = {row.name: Result.read(out, row.name) for row in trained if is_done(out, row.name)}
    structures = {name: results[name] for name in STRUCTURES if name in results}
    if not structures:
        raise DataError(out, None, "results", "none of a structure", "those of one at least")
    pictures = path.with_suffix("")
    draw_curves(pictures / "curves.svg", {STRUCTURES[name]: row for name, row in structures.items()})
    best = max(structures.values(), key=lambda row: row.pooled)
    other = results.get("dbof_plain", best)
    draw_classes(pictures / "classes.svg", class_names(data), best, other, (STRUCTURES[best.name], "plain DBoF"))
    blocks = {"table-1": _table_one(results), "table-2": _table_two(results), "cost": _cost(trained, results)}
    for name, (title, named) in SWEEPS.items():
        swept = {label: results[row] for label, row in named.items() if row in results}
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


def _table_one(results: Results) -> str:
    lines, above = [], None
    for name, label in TABLE_ONE.items():
        row = results.get(name)
        figures = (_figure(row), _pooled(row), _gain(row, above), "" if row is None else f"{row.parameters:,}")
        lines.append((label, *figures))
        above = row
    header = ("model", "mean of folds ± deviation", "pooled", "over the row above ± standard error", "parameters")
    return table(header, lines)


def _table_two(results: Results) -> str:
    lines = []
    for name in sorted((name for name in STRUCTURES if name in results), key=lambda name: -results[name].pooled):
        row, without = results[name], results.get(alone(name))
        figures = (_figure(row), _pooled(row), _figure(without), _pooled(without), _gain(row, without))
        lines.append((STRUCTURES[name], *figures, f"{row.parameters:,}", f"{row.cpu_seconds / 60:.1f}"))
    header = ("structure", "with context", "pooled", "without", "pooled", "context brings", "parameters", "CPU min")
    return table(header, lines)


def _sweep(title: str, swept: Mapping[str, Result]) -> str:
    return table(
        (title, "mean of folds", "pooled"), [(k, _figure(row), f"{row.pooled:.4f}") for k, row in swept.items()]
    )


def _cost(trained: Sequence[Row], results: Results) -> str:
    hours = sum(row.cpu_seconds for row in results.values()) / 3600
    told = f"{len(results)} rows of five folds: {hours:.1f} hours of CPU in all."
    missing = [f"`{row.name}`" for row in trained if row.name not in results]
    return f"{told} Not trained yet: {', '.join(missing)}." if missing else told


def table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Of Markdown; its cells as they come."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ("---",) * len(header), *lines))


def _figure(row: Result | None) -> str:
    return "" if row is None else f"{row.mean:.4f} ± {row.deviation:.4f}"


def _pooled(row: Result | None) -> str:
    return "" if row is None else f"{row.pooled:.4f}"


def _gain(row: Result | None, other: Result | None) -> str:
    if row is None or other is None:
        return ""
    mean, error = row.gain_over(other)
    return f"{mean:+.4f} ± {error:.4f}"


def _decay(decay: float | None) -> str:
    return "none" if decay is None else f"{decay:g}"


# Each sweep: what is swept, and for each of its values the row that has it.
SWEEPS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "context": ("context frames each side", {str(n): context_row(n) for n in CONTEXTS}),
    "decay": ("EMA decay", {_decay(d): decay_row(d) for d in (None, *DECAYS)}),
    "temperature": (
        "temperature", {**{f"{t:g}": temperature_row(t) for t in TEMPERATURES}, "no divergence": NO_DIVERGENCE}
    ),
}  # fmt: skip
