"""Makes the tables and pictures of `docs/performance.md` from what benchmarks wrote with `--json`. Measures nothing.

Each run has a file in `docs/performance/` and a block in the page, which is left as it was where the file is missing.

    .venv/bin/python benchmarks/performance_page.py [--results docs/performance] [--page docs/performance.md]
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from page import figures, plan, tables
from page.blocks import renew
from report import Document

from segsearch.core.files import write_atomically

DOCS = Path(__file__).resolve().parents[1] / "docs"
RUNS: Mapping[str, tuple[Callable[[Document], str], Callable[[Path, Document], None]]] = {
    "headline": (tables.headline, figures.headline),
    "scaling": (tables.scaling, figures.scaling),
    "peers": (tables.search_peers, figures.search_peers),
    "serving_peers": (tables.serving_peers, figures.serving_peers),
}  # by file and by block: its table, its pictures


def found(results: Path) -> dict[str, Document]:
    paths = {name: results / f"{name}.json" for name in RUNS}
    return {name: Document.read(path) for name, path in paths.items() if path.exists()}


def renewed(text: str, runs: Mapping[str, Document]) -> str:
    """The page's text with every block that there is a run for."""
    for name, run in runs.items():
        table, _ = RUNS[name]
        text = renew(text, name, table(run))
    if "headline" in runs:
        text = renew(text, "plan", plan.block(runs["headline"], runs.get("scaling"), runs.get("serving_peers")))
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=DOCS / "performance", help="where runs and pictures lie")
    parser.add_argument("--page", type=Path, default=DOCS / "performance.md")
    options = parser.parse_args()
    runs = found(options.results)
    write_atomically(options.page, renewed(options.page.read_text(), runs))
    for name, run in runs.items():
        _, pictures = RUNS[name]
        pictures(options.results, run)
    for name in RUNS.keys() - runs.keys():
        print(f"{name}: no {name}.json, its block is left as it was", file=sys.stderr)


if __name__ == "__main__":
    main()
