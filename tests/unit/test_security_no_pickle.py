"""Nothing that serves can unpickle: no such module is imported, and numpy is never allowed to."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

UNPICKLING = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FILES = sorted(file for root in ("core", "service") for file in (ROOT / root).rglob("*.py"))


def faults(source: str) -> Iterator[str]:
    """Imports that unpickle, and arguments that let numpy do it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in UNPICKLING)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNPICKLING:
            yield str(node.module)
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
            yield f"allow_pickle={ast.unparse(node.value)}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_module_that_serves_can_unpickle(file: Path):
    assert list(faults(file.read_text())) == []


@pytest.mark.parametrize(
    "source", ["import pickle", "from pickle import loads", "import a, joblib.b", "np.load(f, allow_pickle=True)"]
)
def test_the_search_finds_what_it_looks_for(source):
    assert len(list(faults(source))) == 1
