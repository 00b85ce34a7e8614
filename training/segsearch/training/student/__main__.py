"""`python -m segsearch.training.student`: base models to submissions, then the report; `make student` calls it.

What is deployed comes first and is reported at once; then what it is to be compared with: other students, ensembles and
trees, and every level from further seeds. The report is renewed after each, so that a run that is stopped has told all
that it found.
"""

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from segsearch.core.errors import SegsearchError
from segsearch.core.progress import say
from segsearch.training.folder import DataFolder
from segsearch.training.student import variants
from segsearch.training.student.card import write_facts
from segsearch.training.student.dense import DenseJudge
from segsearch.training.student.findings import Findings
from segsearch.training.student.line import STUDENTS, Line
from segsearch.training.student.report import write_report
from segsearch.training.student.steps import Step


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m segsearch.training.student", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of AudioSet-Segments")
    parser.add_argument("--out", type=Path, required=True, help="folder for all of it; the same command goes on in it")
    parser.add_argument("--report", type=Path, required=True, help="Markdown file whose blocks are renewed")
    parser.add_argument("--serve", type=Path, required=True, help="`segsearch` of the serving environment")
    parser.add_argument("--student", default="dbof-large", choices=STUDENTS, help="the one that is deployed")
    parser.add_argument(
        "--compare", nargs="*", default=STUDENTS, choices=STUDENTS, metavar="STUDENT", help="others; none: only deploy"
    )
    parser.add_argument("--seeds", type=int, default=3, help="from how many seeds every level is measured")
    parser.add_argument("--trained", type=Path, help="folder in which runs may lie finished, as build/ablation")
    parser.add_argument("--workers", type=int, default=2, help="commands at once, a core each")
    options = vars(parser.parse_args())
    report, students, seeds = (options.pop(name) for name in ("report", "compare", "seeds"))
    line = Line(**options)
    try:
        for found in parts(line, [student for student in students if student != line.student], seeds):
            tell(found, report)
    except SegsearchError as error:
        say(f"error: {error}")
        return 1
    return 0


def parts(line: Line, students: Sequence[str], seeds: int) -> Iterator[Findings]:
    """Runs one part after the other; what was found so far, after each."""
    found = Findings(lines=(line,), dense=DenseJudge.open(DataFolder.open(line.data)).of)
    line.measure()
    line.deploy()
    yield found
    if students:
        line.compare(students)
        line.run(variants.steps(line))
        found = dataclasses.replace(found, students=tuple(students))
        yield found
    for seed in range(1, seeds):
        say(f"all levels once more, from seed {seed}")
        line.seeded(seed).measure()
        found = dataclasses.replace(found, lines=(*found.lines, line.seeded(seed)))
        yield found


def tell(findings: Findings, report: Path) -> None:
    """Renews the report, and the model card beside the bundle."""
    write_report(findings, report)
    line, facts = findings.line, findings.line.out / "card.json"
    write_facts(findings, facts)
    step = card_step(line, facts)
    step.makes.unlink(missing_ok=True)  # it is of the figures before
    line.run([step])


def card_step(line: Line, facts: Path) -> Step:
    """Export is another package: its command is called, not its code."""
    bundle = line.out / "bundles" / line.student
    command = (sys.executable, "-m", "segsearch.export.model_card", bundle, "--facts", facts)
    return Step(name="model card", command=command, makes=bundle / "model-card-1.md")


if __name__ == "__main__":
    sys.exit(main())
