"""How every benchmark reports: a table `measure | value | target | holds`, and the same as JSON with `--json PATH`.

A benchmark measures its two sides in one run and reports their ratio; `holds` is said, never enforced: time must not
decide a build. The JSON says with which command the figures come again, and how busy the machine was before; from such
documents `performance_page` makes the tables and pictures of `docs/performance.md`.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from time import process_time

from rich.console import Console
from rich.markup import escape
from rich.table import Table

LOAD_BEFORE = os.getloadavg()[0]  # what else ran in the minute before this script began
OWN_PLACES = ("--json", "--scratch", "--folder")  # options
OWN_HISTORY = "--go-on"  # a flag: how a run came about is not what it measured
Curve = Sequence[tuple[float, float]]


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


@dataclass(frozen=True, slots=True)
class Document:
    """What a run has found, as it lies in a file."""

    title: str
    machine: str
    command: str
    load: float
    measures: Sequence[Measure]
    curves: Mapping[str, Curve]

    def write(self, path: Path) -> None:
        rows = [{**asdict(measure), "target": measure.target, "holds": measure.holds} for measure in self.measures]
        document = {field.name: getattr(self, field.name) for field in fields(self)} | {"measures": rows}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Document":
        document = json.loads(path.read_text())
        names = [field.name for field in fields(Measure)]
        measures = [Measure(**{name: row[name] for name in names}) for row in document.pop("measures")]
        return cls(measures=measures, **document)

    def value(self, name: str) -> float:
        """Raises KeyError for what was not measured."""
        for measure in self.measures:
            if measure.name == name:
                return measure.value
        raise KeyError(name)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with `--json`; a benchmark adds its own options."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, help="write the same figures as JSON to this file")
    return parser


def report(
    title: str, measures: Sequence[Measure], json_path: Path | None, curves: Mapping[str, Curve] | None = None
) -> None:
    """Prints the table and, if asked, writes the JSON. curves: what only a picture shows."""
    table = Table("measure", "value", "target", "holds", title=f"{title} ({machine()})", title_justify="left")
    for measure in measures:
        verdict = {None: "", True: "yes", False: "NO"}[measure.holds]
        table.add_row(escape(measure.name), f"{measure.value:,.4g} {measure.unit}".strip(), measure.target, verdict)
    Console().print(table)
    if json_path is not None:
        Document(title, machine(), command(sys.argv), LOAD_BEFORE, measures, curves or {}).write(json_path)


def command(words: Sequence[str]) -> str:
    """What somebody types to get such figures again; where files lie, and are written, is their own affair."""
    given = iter(words[1:])
    kept = []
    for word in given:
        option, _, value = word.partition("=")
        if option in OWN_PLACES:
            if not value:
                next(given, None)
        elif word != OWN_HISTORY:
            kept.append(word)
    return " ".join(["python", f"benchmarks/{Path(words[0]).name}", *kept])


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
