"""`make student`: its commands exist as it types them, what is done stays done, and its report adds up."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import typer.main

from segsearch.core.cli import build, own_process
from segsearch.core.errors import DataError
from segsearch.training.documents import changed
from segsearch.training.folder import FOLDS
from segsearch.training.student.config import student_run
from segsearch.training.student.line import BASE, LEVELS, Line
from segsearch.training.student.plots import draw_pareto, pareto_front
from segsearch.training.student.report import Findings, gains_table, levels_table, write_facts, write_report
from segsearch.training.student.steps import Step, StepFailed, run_steps
from tests.documents import shell_lines


@pytest.fixture
def line(tmp_path):
    """A line whose trainings and scores are there as far as figures go."""
    line = Line(data=Path("data"), out=tmp_path, student="dbof-small", serve=Path("segsearch"))
    for number, row in enumerate((*BASE, line.twin)):
        _write(tmp_path / "runs" / row.name / "folds.json", 0.8 + number / 100)
        _write_cost(tmp_path / "scores" / row.name / "cost.json", 1e-4)
    _write(tmp_path / "ensemble" / "ensemble.json", 0.9)
    _write(tmp_path / "level_two" / "level_two.json", 0.91)
    _write(tmp_path / "student" / "folds.json", 0.895)
    _write_cost(tmp_path / "student" / "cost.json", 2e-5)
    return line


def _write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    folds = [value - 0.01, value, value, value, value + 0.01]
    path.write_text(json.dumps({"fold_rated_map_at_100k": folds, "mean_rated_map_at_100k": value,
                                "pooled_rated_map_at_100k": value - 0.02}))  # fmt: skip


def _write_cost(path, seconds):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cpu_seconds_per_segment": seconds, "parameters": 1000}))


def all_steps(line):
    parts = (line.scores, line.ensembles, line.level_two, line.folds, line.bundle, line.generations, line.csvs)
    return [step for part in parts for step in part()]


def test_every_command_of_the_line_is_one_that_people_can_type(line):
    group = typer.main.get_command(build())
    typed = 0
    for step in all_steps(line):
        words = [str(word) for word in step.command]
        if "-m" in words:  # modules of our own are no subcommands
            continue
        words = words[len(own_process()) :] if words[0] == sys.executable else words[1:]
        command = group.commands[words.pop(0)]
        if hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        command.make_context("segsearch", words)  # parses, and runs nothing
        typed += 1
    assert typed == 2 + 1 + (FOLDS + 1) + 2 + len(LEVELS) + len(LEVELS)


@pytest.mark.parametrize("words", [words for words in shell_lines("docs/student.md") if words[0] == "segsearch"])
def test_the_commands_of_the_document_parse(words):
    command = typer.main.get_command(build()).commands[words[1]]
    command.make_context("segsearch", words[2:])


def test_every_step_makes_a_file_of_its_own_below_the_folder(line):
    made = [step.makes for step in all_steps(line)]
    assert len(set(made)) == len(made)
    assert all(line.out in path.parents for path in made)
    assert {line.out / f"{level}.csv" for level in LEVELS} <= set(made)


@pytest.mark.parametrize("row", BASE, ids=lambda row: row.name)
def test_a_base_model_is_a_run_that_exists_and_needs_no_other_row(row):
    assert changed(student_run(row.run), row.changes).name == row.run
    assert row.start is None


@pytest.mark.parametrize(("student", "run"), [("dbof-medium", "dbof"), ("nextvlad-medium", "nextvlad")])
def test_a_middling_student_has_its_twin_among_the_ablations_runs(student, run, line):
    twin = dataclasses.replace(line, student=student).twin
    assert twin.name == run
    assert dataclasses.replace(student_run(student), name=twin.run) == student_run(twin.run)


def test_finished_base_models_of_another_folder_are_taken_as_they_are(line, tmp_path):
    trained = tmp_path / "trained"
    _write(trained / BASE[0].name / "folds.json", 0.99)
    other = Line(data=line.data, out=line.out, student=line.student, serve=line.serve, trained=trained)
    assert other.folder_of(BASE[0]) == trained / BASE[0].name
    assert other.folder_of(BASE[1]) == line.folder_of(BASE[1])
    assert other.best == BASE[0]


def step_that(name, tmp_path, code):
    return Step(name=name, command=(sys.executable, "-c", code), makes=tmp_path / name)


def test_a_step_that_is_done_is_not_run_again(tmp_path):
    path = tmp_path / "made"
    step = step_that("made", tmp_path, f"open({str(path)!r}, 'a').write('x')")
    for _ in range(2):
        run_steps([step], tmp_path / "logs")
    assert path.read_text() == "x"


def test_a_step_that_fails_is_named_with_its_log_and_the_others_are_done_all_the_same(tmp_path):
    bad = step_that("bad", tmp_path, "raise SystemExit('no room')")
    good = step_that("good", tmp_path, f"open({str(tmp_path / 'good')!r}, 'w')")
    with pytest.raises(StepFailed, match="bad ended with status 1") as caught:
        run_steps([bad, good], tmp_path / "logs")
    assert "no room" in caught.value.log.read_text()
    assert good.done


def test_a_step_that_does_not_make_its_file_has_failed(tmp_path):
    with pytest.raises(StepFailed, match="status 0"):
        run_steps([step_that("idle", tmp_path, "pass")], tmp_path / "logs")


def test_the_report_compares_the_levels_fold_by_fold(line):
    levels = Findings(line=line).levels
    assert levels["single"].name == f"best base model ({BASE[-1].name})"
    best = 0.8 + (len(BASE) - 1) / 100
    assert f"| {levels['single'].name} | {best:.4f} ± 0.0071 | {best - 0.02:.4f} |" in levels_table(
        list(levels.values())
    )
    table = gains_table(levels)
    assert f"+{0.9 - best:.4f} ± 0.0000 | +{0.9 - best:.4f} | +0.010" in table
    assert f"{2e-5 / (len(BASE) * 1e-4):.3f} of the ensemble's" in table


def test_the_report_renews_its_blocks_and_draws_its_picture(line, tmp_path):
    path = tmp_path / "student.md"
    blocks = ("levels", "gains", "pareto")
    path.write_text("Words.\n" + "".join(f"<!-- {name} -->\n<!-- /{name} -->\n" for name in blocks))
    write_report(line, path)
    assert path.read_text().startswith("Words.\n<!-- levels -->\n| level |")
    assert (tmp_path / "student" / "pareto.svg").read_text().startswith("<?xml")


def test_facts_are_what_a_model_card_takes(line, tmp_path):
    from segsearch.export.model_card import Facts

    write_facts(line, tmp_path / "card.json")
    facts = Facts.read(tmp_path / "card.json")
    assert [each.value for each in facts.quality[:2]] == pytest.approx([0.895, 0.875])


def test_a_result_that_is_missing_is_named(line):
    (line.out / "level_two" / "level_two.json").unlink()
    with pytest.raises(DataError, match=r"level_two\.json"):
        Findings(line=line).levels  # noqa: B018


def test_the_front_is_what_nothing_cheaper_betters():
    assert pareto_front([(3, 0.9), (1, 0.5), (2, 0.4), (4, 0.9), (1, 0.6)]) == [(1, 0.6), (3, 0.9)]


def test_the_same_figures_draw_the_same_picture(tmp_path):
    points = [("one", 1.0, 0.5), ("two", 10.0, 0.6)]
    for name in ("a.svg", "b.svg"):
        draw_pareto(tmp_path / name, points)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
