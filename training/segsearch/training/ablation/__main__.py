"""`python -m segsearch.training.ablation`: trains every row that is not done yet, then reports those that are."""

import argparse
import sys
from pathlib import Path

from segsearch.core.errors import SegsearchError
from segsearch.core.progress import say
from segsearch.training.ablation.queue import Queue
from segsearch.training.ablation.report import write_report
from segsearch.training.ablation.rows import rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m segsearch.training.ablation", description=__doc__)
    parser.add_argument("--data", required=True, help="folder of AudioSet-Segments")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs; the same command goes on in it")
    parser.add_argument("--report", type=Path, required=True, help="Markdown file to write; plots go beside it")
    parser.add_argument("--workers", type=int, default=2, help="trainings at once, a core each")
    parser.add_argument("--report-only", action="store_true", help="train nothing; report what is done")
    options = parser.parse_args()
    queue = Queue(rows=rows(), data=options.data, out=options.out, workers=options.workers)
    steps = [] if options.report_only else [queue.run]
    failed = 0
    for step in (*steps, lambda: write_report(options.out, options.report, options.data)):
        try:
            step()
        except SegsearchError as error:  # what was trained is reported all the same
            say(f"error: {error}")
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
