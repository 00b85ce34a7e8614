"""What is measured in a page of words: blocks between `<!-- measured: NAME -->` and `<!-- /measured: NAME -->`."""

import textwrap
from collections.abc import Sequence

from report import Document, Measure

WIDTH = 120
Row = Sequence[str]


def renew(text: str, name: str, block: str) -> str:
    """The page's text with a block replaced; raises ValueError for a page that has no such block."""
    begin, end = f"<!-- measured: {name} -->", f"<!-- /measured: {name} -->"
    before, begins, rest = text.partition(begin)
    _, ends, after = rest.partition(end)
    if not begins or not ends:
        raise ValueError(f"no {begin} and {end}")
    return f"{before}{begin}\n{block}\n{end}{after}"


def heading(run: Document) -> str:
    """What was run, where, and the command that runs it again."""
    words = textwrap.fill(f"{run.title}. {run.machine}, load {run.load:.1f} before the run:", WIDTH)
    return f"{words}\n\n    {run.command}"


def measure_table(measures: Sequence[Measure]) -> str:
    rows = [(measure.name, f"{number(measure.value)} {measure.unit}".strip(), target(measure)) for measure in measures]
    return table(("measure", "value", "target"), rows)


def table(head: Row, rows: Sequence[Row]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ("---",) * len(head), *rows))


def target(measure: Measure) -> str:
    return f"{measure.target}{', missed' if measure.holds is False else ''}"


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
