"""The `sample` command: one JSON line out, talk on stderr, and misuse told apart from failure."""

import json
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from segsearch.core.errors import ConfigError
from segsearch.core.sample.cli import sample


@pytest.fixture
def run():
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(sample)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_stdout_is_one_json_line_with_the_counts(run, tmp_path):
    line = json.loads(run(tmp_path / "out", "--videos", 10, "--classes", 6).stdout)
    assert line["written"] is True
    assert (line["train"], line["validate"], line["test"]) == (3, 5, 2)
    assert 0 < line["positive"] < line["rated"]


def test_a_second_run_says_that_there_is_nothing_to_do_and_gives_the_same_counts(run, tmp_path):
    first = json.loads(run(tmp_path / "out", "--videos", 10).stdout)
    answer = run(tmp_path / "out", "--videos", 10)
    assert "already" in answer.stderr
    assert json.loads(answer.stdout) == {**first, "written": False}


def test_another_seed_on_the_same_folder_fails(run, tmp_path):
    run(tmp_path / "out", "--videos", 10)
    assert isinstance(run(tmp_path / "out", "--videos", 10, "--seed", 2).exception, ConfigError)


@pytest.mark.parametrize("option", [("--videos", 9), ("--classes", 2), ("--classes", 49), ("--seed", -1)])
def test_an_option_out_of_range_fails_and_is_named(run, tmp_path, option):
    error = run(tmp_path / "out", *option).exception
    assert isinstance(error, ConfigError)
    assert (error.field, error.found) == (option[0][2:], option[1])


def test_an_option_that_is_no_number_is_misuse(run, tmp_path):
    assert run(tmp_path / "out", "--videos", "many").exit_code == 2


def test_the_command_is_loaded_without_numpy():
    program = "import sys, segsearch.core.sample.cli; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
