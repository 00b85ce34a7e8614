"""`python -m segsearch.training.student`: base models to submissions, then the report; `make student` calls it."""

import argparse
import sys
from pathlib import Path

from segsearch.core.errors import SegsearchError
from segsearch.core.progress import say
from segsearch.training.student.line import Line
from segsearch.training.student.report import write_facts, write_report
from segsearch.training.student.steps import Step, run_steps


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m segsearch.training.student", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of AudioSet-Segments")
    parser.add_argument("--out", type=Path, required=True, help="folder for all of it; the same command goes on in it")
    parser.add_argument("--report", type=Path, required=True, help="Markdown file whose blocks are renewed")
    parser.add_argument("--serve", type=Path, required=True, help="`segsearch` of the serving environment")
    parser.add_argument("--student", default="dbof-medium", help="as of `segsearch distil`")
    parser.add_argument("--trained", type=Path, help="folder in which base models may lie finished, as build/ablation")
    parser.add_argument("--workers", type=int, default=2, help="commands at once, a core each")
    options = vars(parser.parse_args())
    report = options.pop("report")
    line = Line(**options)
    try:
        line.run()
        write_report(line, report)
        facts = line.out / "card.json"
        write_facts(line, facts)
        run_steps([card_step(line, facts)], line.out / "logs")
    except SegsearchError as error:
        say(f"error: {error}")
        return 1
    return 0


def card_step(line: Line, facts: Path) -> Step:
    """Export is another package: its command is called, not its code."""
    bundle = line.out / "bundles" / line.student
    command = (sys.executable, "-m", "segsearch.export.model_card", bundle, "--facts", facts)
    return Step(name="model card", command=command, makes=bundle / "model-card-1.md")


if __name__ == "__main__":
    sys.exit(main())
