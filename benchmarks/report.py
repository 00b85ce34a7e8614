"""How every benchmark reports: a table `measure | value | target | holds`, and the same as JSON with `--json PATH`.

A benchmark measures its two sides in one run and reports their ratio; `holds` is said, never enforced: time must not
decide a build.
"""

import argparse
import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import process_time

from rich.console import Console
from rich.markup import escape
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure. `at_most` and `at_least` are the target; without either it is only told."""

    name: str
    value: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def target(self) -> str:
        bounds = ((self.at_most, "≤"), (self.at_least, "≥"))
        return " ".join(f"{sign} {bound:g}" for bound, sign in bounds if bound is not None)

    @property
    def holds(self) -> bool | None:
        if self.at_most is None and self.at_least is None:
            return None
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with `--json`; a benchmark adds its own options."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, help="write the same figures as JSON to this file")
    return parser


def report(title: str, measures: Sequence[Measure], json_path: Path | None) -> None:
    """Prints the table and, if asked, writes the JSON."""
    table = Table("measure", "value", "target", "holds", title=f"{title} ({machine()})", title_justify="left")
    for measure in measures:
        verdict = {None: "", True: "yes", False: "NO"}[measure.holds]
        table.add_row(escape(measure.name), f"{measure.value:,.4g} {measure.unit}".strip(), measure.target, verdict)
    Console().print(table)
    if json_path is not None:
        rows = [{**asdict(measure), "target": measure.target, "holds": measure.holds} for measure in measures]
        json_path.write_text(json.dumps({"title": title, "machine": machine(), "measures": rows}, indent=1) + "\n")


def machine() -> str:
    """Processor model and core count."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
        return f"{model}, {sum(line.startswith('processor') for line in lines)} cores"
    return model


def cpu_times(first: Callable[[], object], second: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median CPU seconds of two functions that take turns, so that a drifting machine meets both alike."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for function, spent in zip((first, second), times, strict=True):
            started = process_time()
            function()
            spent.append(process_time() - started)
    return median(times[0]), median(times[1])
