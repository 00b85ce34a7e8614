"""What `make demo` runs: the user's own words reach the commands that need them."""

import argparse
import importlib.util
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

STREAMS = "audio=audio_embedding:128"


class WrittenDown:
    """A line that notes its commands instead of running them."""

    train_bin = serve_bin = Path("bin")

    def __init__(self) -> None:
        self.commands: dict[str, list[str]] = {}

    def run(self, step: str, _program: Path, *words: object) -> dict[str, Any]:
        self.commands[step] = list(map(str, words))
        return {}


def load_demo():
    specification = importlib.util.spec_from_file_location("demo", ROOT / "demo/demo.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def commands(build: Path, features: str) -> dict[str, list[str]]:
    line = WrittenDown()
    load_demo().make_index(line, build, build, argparse.Namespace(run="any", features=features))
    return line.commands


@pytest.mark.parametrize("step", ["train", "reindex"])
def test_streams_that_are_named_reach_training_and_reindexing(tmp_path, step):
    assert commands(tmp_path, STREAMS)[step][-2:] == ["--features", STREAMS]


def test_without_names_streams_are_left_to_the_data(tmp_path):
    assert not any("--features" in words for words in commands(tmp_path, "").values())


def test_a_demo_starts_afresh(tmp_path):
    for old in ("run", "bundles", "index"):
        (tmp_path / old).mkdir()
    commands(tmp_path, "")
    assert list(tmp_path.iterdir()) == []


def test_make_passes_data_and_streams_on():
    words = ["make", "-n", "demo", "DATA=/my/shards", f"FEATURES={STREAMS}"]
    printed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "--data /my/shards" in " ".join(printed.replace('"', "").split())
    assert f"--features {STREAMS}" in " ".join(printed.replace('"', "").split())
