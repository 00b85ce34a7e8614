"""Compares runs with what was measured before: each ratio that has a target may be worse by so much, and no more.

`ratios.json` holds benchmark -> measure -> value, as `--keep` wrote them. Only measures without a unit that have a
target are looked at: times differ from machine to machine, ratios of two sides of one run hardly.

    .venv/bin/python benchmarks/ratios.py RUN.json ... [--slack 0.25] [--keep]
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

KEPT = Path(__file__).with_name("ratios.json")

Ratios = dict[str, float]


def ratios_of(document: Mapping[str, Any]) -> Ratios:
    """The ratios with a target in what a benchmark wrote with `--json`."""
    return {row["name"]: row["value"] for row in document["measures"] if not row["unit"] and row["target"]}


def worse(document: Mapping[str, Any], kept: Mapping[str, float], slack: float) -> list[str]:
    """What is worse than it was by more than the slack, as lines; a measure that is gone is worse, too."""
    rows = {row["name"]: row for row in document["measures"]}
    lines = [f"{name}: not measured, was {before:.4g}" for name, before in kept.items() if name not in rows]
    for name, before in kept.items():
        row = rows.get(name)
        if row is not None and _is_worse(row, before, slack):
            lines.append(f"{name}: {row['value']:.4g}, was {before:.4g} (target {row['target']})")
    return lines


def _compared(document: Mapping[str, Any], kept: Ratios | None, slack: float) -> list[str]:
    return ["no ratios are kept to compare with"] if kept is None else worse(document, kept, slack)


def _is_worse(row: Mapping[str, Any], before: float, slack: float) -> bool:
    # What is next to nothing beside its target may double: a difference of rounding, memory that is not taken.
    margin = slack * max(abs(before), abs(row["at_least"] or row["at_most"] or 0) / 4)
    fell = row["at_least"] is not None and row["value"] < before - margin
    rose = row["at_most"] is not None and row["value"] > before + margin
    return fell or rose


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="what benchmarks wrote with --json, named as they are")
    parser.add_argument("--slack", type=float, default=0.25, help="share by which a ratio may be worse")
    parser.add_argument("--kept", type=Path, default=KEPT, help="the file of ratios to compare with")
    parser.add_argument("--keep", action="store_true", help="write these runs' ratios there instead of comparing")
    options = parser.parse_args(arguments)
    kept: dict[str, Ratios] = json.loads(options.kept.read_text()) if options.kept.exists() else {}
    documents = {path.stem: json.loads(path.read_text()) for path in options.runs}
    if options.keep:
        kept |= {name: ratios_of(document) for name, document in documents.items()}
        options.kept.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
        return 0
    lines = [
        f"{name}: {line}"
        for name, document in documents.items()
        for line in _compared(document, kept.get(name), options.slack)
    ]
    print("\n".join(lines) or "no ratio is worse than it was", file=sys.stderr)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
