"""What the documents tell a newcomer to type exists: make targets, subcommands, options, files."""

import re

import pytest
import typer.main

from segsearch.core.cli import build
from tests.conftest import ROOT
from tests.documents import shell_lines

DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "ARCHITECTURE.md",
    "docs/training.md",
    "docs/runs.md",
    "docs/results.md",
    "docs/service.md",
    "docs/client.md",
    "docs/inference.md",
    "docs/index.md",
    "docs/scoring.md",
    "docs/performance.md",
    "docs/student.md",
    "docs/reliability.md",
)


def commands(program):
    return [
        pytest.param(words, id=" ".join(words)[:60])
        for d in DOCUMENTS
        for words in shell_lines(d)
        if words[0] == program
    ]


@pytest.mark.parametrize("words", commands("make"))
def test_make_targets_in_the_documents_exist(words):
    assert re.search(rf"^{re.escape(words[1])}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("words", commands("segsearch"))
def test_segsearch_commands_in_the_documents_parse(words):
    group = typer.main.get_command(build())
    command = group.commands[words[1]]
    if hasattr(command, "commands"):
        command = command.commands[words[2]]
    options = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words[2:] if word.startswith("--")} <= options


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_in_the_documents_lead_somewhere(document):
    for link in re.findall(r"\]\(([^)#]+)\)", (ROOT / document).read_text()):
        assert link.startswith("http") or ((ROOT / document).parent / link).exists(), link


def test_ci_runs_exactly_the_test_command_of_the_readme():
    assert "make test " in (ROOT / "README.md").read_text()
    assert (ROOT / ".ci/run").read_text().splitlines()[-1] == "make test"


def every_command(group):
    for name, command in group.commands.items():
        yield name, command
        yield from every_command(command) if hasattr(command, "commands") else ()


def test_every_option_has_help_text():
    group = typer.main.get_command(build())
    bare = [
        f"{name} {parameter.name}"
        for name, command in every_command(group)
        for parameter in command.params
        if not parameter.help and parameter.name != "help"
    ]
    assert bare == []
