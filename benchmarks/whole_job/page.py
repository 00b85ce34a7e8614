"""Puts a run's figures into a page, between `<!-- measured -->` and `<!-- /measured -->`; the words around are ours."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from report import Measure

from segsearch.core.files import write_atomically

WIDTH = 120
BEGIN, END = "<!-- measured -->", "<!-- /measured -->"


def renew(page: Path, heading: str, tables: Sequence[Sequence[Measure]]) -> None:
    """Replaces what stands between the marks; raises ValueError for a page without them."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page}: no {BEGIN} and {END}")
    block = "\n\n".join([textwrap.fill(heading, WIDTH), *map(table, tables)])
    write_atomically(page, f"{before}{BEGIN}\n{block}\n{END}{after}")


def table(measures: Sequence[Measure]) -> str:
    lines = [("measure", "value", "target"), ("---",) * 3]
    for measure in measures:
        target = f"{measure.target}{', missed' if measure.holds is False else ''}"
        value = f"{measure.value:,.0f}" if abs(measure.value) >= 1000 else f"{measure.value:.3g}"
        lines.append((measure.name, f"{value} {measure.unit}".strip(), target))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
