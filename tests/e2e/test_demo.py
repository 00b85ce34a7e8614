"""The whole line, as `make demo` runs it: real commands, real files, a real server."""

import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

VIDEOS = 60


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> str:
    """What a small demo printed."""
    command = [
        sys.executable, ROOT / "demo/demo.py", "--serve-bin", ROOT / ".venv-serve/bin",
        "--videos", str(VIDEOS), "--build", tmp_path_factory.mktemp("demo"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.parametrize(
    "step", ["sample", "train", "export", "reindex", "evaluate", "serve: until ready", "score one upload", "search"]
)
def test_the_demo_takes_every_step_and_times_it(demo, step):
    assert re.search(rf"│ {re.escape(step)}.*│\s+[\d.]+ s", demo)


def test_the_demo_searches_three_tags(demo):
    assert len(re.findall(r"GET /search\?tag=", demo)) == 3


def test_the_demo_finds_more_than_chance_would(demo):
    # About a third of the rated pairs are positives, which is the MAP of a random ranking.
    judged = float(re.search(r"MAP@100k, test segments\s+│ ([\d.]+)", demo)[1])
    assert judged > 0.5
