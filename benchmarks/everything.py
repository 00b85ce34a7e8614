"""Runs every benchmark, one after the other, at a size at which all of them end within half an hour on two cores.

What each prints stands above a summary: how long it took, and which targets held. Figures go to `build/bench`, a file
each; those of `docs/performance.md` come from larger runs (`make bench-report`, `bench-scaling`, `bench-peers`).

    .venv/bin/python benchmarks/everything.py [--only NAME ...] [--check [--keep]]

With `--check` only those run whose ratios are of CPU time, which other work on the machine hardly moves, and their
ratios are compared with `ratios.json`; with `--keep` they are written there.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ratios
from report import Document, Measure, report

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "build" / "bench"
PEERS_PYTHON = HERE.parent / ".venv-peers" / "bin" / "python"


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A script of this folder, by name. seconds: about, on two cores that do nothing else, with these options."""

    name: str
    seconds: int
    options: Sequence[str] = ()
    checked: bool = False  # its ratios are looked at by `--check`
    beside_peers: bool = False  # needs the environment of `make bench-peers`

    @property
    def command(self) -> list[str]:
        python = PEERS_PYTHON if self.beside_peers else sys.executable
        return [str(python), str(HERE / f"{self.name}.py"), *self.options]

    @property
    def result(self) -> Path:
        return OUT / f"{self.name}.json"


BENCHMARKS = (
    Benchmark("records", 5, checked=True),
    Benchmark("search_json", 5, checked=True),
    Benchmark("parity", 15),
    Benchmark("index", 5),
    Benchmark("live_store", 5),
    Benchmark("selection", 90, ("--rounds", "3"), checked=True),
    Benchmark("similar", 35, checked=True),
    Benchmark("service", 30),
    Benchmark("rpc", 30),
    Benchmark("service_load", 150, ("--seconds", "5", "--rounds", "2")),
    Benchmark("slow_clients", 80),
    Benchmark("reindex", 130, ("--shards", "48", "--rounds", "1")),
    Benchmark("scoring", 180, ("--rounds", "5"), checked=True),
    Benchmark("training", 75),
    Benchmark("starter_manner", 60),
    Benchmark("headline", 200, ("--scale", "0.05"), checked=True),
    Benchmark("scaling", 240),
    Benchmark("peers", 60, beside_peers=True),
    Benchmark("serving_peers", 180, beside_peers=True),
)


def run(benchmark: Benchmark) -> float:
    """Seconds that it took; raises CalledProcessError where it failed."""
    benchmark.result.unlink(missing_ok=True)
    started = time.perf_counter()
    subprocess.run([*benchmark.command, "--json", str(benchmark.result)], check=True)
    return time.perf_counter() - started


def summary(benchmark: Benchmark, seconds: float) -> list[Measure]:
    """How long it took, and how many of its targets it missed."""
    verdicts = [measure.holds for measure in Document.read(benchmark.result).measures if measure.holds is not None]
    return [
        Measure(benchmark.name, seconds, "s"),
        *([Measure(f"{benchmark.name}, targets of {len(verdicts)} missed", verdicts.count(False))] if verdicts else []),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[each.name for each in BENCHMARKS], help="these alone")
    parser.add_argument("--check", action="store_true", help="compare ratios of CPU time with ratios.json")
    parser.add_argument("--keep", action="store_true", help="with --check: write them there instead")
    options = parser.parse_args()
    if options.keep and not options.check:
        parser.error("--keep goes with --check")
    chosen = [each for each in BENCHMARKS if options.only is None or each.name in options.only]
    chosen = [each for each in chosen if each.checked or not options.check]
    if not chosen:
        parser.error("none of these has ratios to check")
    OUT.mkdir(parents=True, exist_ok=True)
    told: list[Measure] = []
    for benchmark in chosen:
        if benchmark.beside_peers and not PEERS_PYTHON.exists():
            print(f"{benchmark.name}: left out, `make bench-peers` makes its environment", file=sys.stderr)
            continue
        told += summary(benchmark, run(benchmark))
    total = sum(measure.value for measure in told if measure.unit == "s")
    report("Every benchmark", [*told, Measure("all of them", total / 60, "min", at_most=30)], None)
    results = [str(each.result) for each in chosen]
    return ratios.main([*results, *(["--keep"] if options.keep else [])]) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
