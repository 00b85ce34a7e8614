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
from segsearch.training.student import variants
from segsearch.training.student.card import write_facts
from segsearch.training.student.config import student_run
from segsearch.training.student.findings import Cost, Findings
from segsearch.training.student.line import BASE, LEVELS, STUDENTS, Line, twin_of
from segsearch.training.student.plots import draw_pareto, pareto_front
from segsearch.training.student.report import cost_table, gains_table, levels_table, students_table, write_report
from segsearch.training.student.steps import Step, StepFailed, cpu_seconds, run_steps
from tests.conftest import ROOT
from tests.documents import shell_lines

BEST = BASE[-1].name
OTHER = "nextvlad-small"  # a student that is only compared
BLOCKS = (
    "levels", "gains", "pareto", "importance", "student-cost", "students", "ensembles", "contexts", "trees",
)  # fmt: skip


@pytest.fixture
def line(tmp_path):
    """A line whose trainings and scores are there as far as figures go, from seed 0 and from seed 1."""
    line = Line(data=Path("data"), out=tmp_path / "out", student="dbof-small", serve=Path("segsearch"))
    for seed, lift in ((0, 0.0), (1, 0.002)):
        _fill(line.seeded(seed), line.student, lift)
    _write_student(line, OTHER, 0.88, 0.0)
    for number, variant in enumerate((*variants.ensembles(line), *variants.contexts(line), *variants.trees(line))):
        _write(variant.step.makes, 0.7 + number / 100)
    for name in (BEST, *(row.name for row in BASE[:-1]), line.student, OTHER):
        line.bundle_of(name).mkdir(parents=True)
        (line.bundle_of(name) / "model.onnx").write_bytes(bytes(5000))
    return line


def _fill(line, student, lift):
    for number, row in enumerate(BASE):
        _write(line.out / "runs" / row.name / "folds.json", 0.8 + number / 100 + lift)
        _write_cost(line.out / "scores" / row.name / "cost.json", 1e-4)
        (line.out / "runs" / row.name / "seconds.json").write_text('{"cpu_seconds": 60}')
    _write(line.out / "ensemble" / "ensemble.json", 0.9)
    _write(line.out / "level_two" / "level_two.json", 0.91 + lift, cpu_seconds_per_segment=3e-4)
    (line.out / "level_two" / "importance.md").write_text(
        "| feature | share of gain |\n| --- | --- |\n| mean | 0.5 |\n"
    )
    (line.out / "level_two" / "importance.svg").write_text("<svg/>")
    _write_student(line, student, 0.895, lift)


def _write_student(line, student, value, lift):
    _write(line.out / "runs" / twin_of(student).name / "folds.json", value - 0.01)
    _write(line.out / "students" / student / "folds.json", value + lift)
    _write_cost(line.out / "students" / student / "cost.json", 2e-5)


def _write(path, value, **facts):
    path.parent.mkdir(parents=True, exist_ok=True)
    folds = [value - 0.01, value, value, value, value + 0.01]
    path.write_text(json.dumps({"fold_rated_map_at_100k": folds, "mean_rated_map_at_100k": value,
                                "pooled_rated_map_at_100k": value - 0.02, **facts}))  # fmt: skip


def _write_cost(path, seconds):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cpu_seconds_per_segment": seconds, "parameters": 1000}))


def findings(line, seeds=1, students=()):
    """As if every matrix ranked whole videos alike."""
    return Findings(lines=tuple(map(line.seeded, range(seeds))), dense=lambda _: 0.4, students=students)


def all_steps(line):
    parts = (line.scores(), line.ensembles(), line.level_two(), line.final(), line.bundle(), line.generations())
    students = [step for name in STUDENTS for step in (*line.folds(name), *line.together(name))]
    compared = (*line.sizes([OTHER]), *variants.steps(line))
    return [*(step for part in parts for step in part), *line.csvs(), *students, *compared]


def cells(text, first):
    """The table's line that begins with this cell."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


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
    students = len(STUDENTS) * (FOLDS + 1)
    compared = len(BASE) + 1 + len(variants.steps(line))
    assert typed == 2 + 1 + 1 + 1 + len(LEVELS) + len(LEVELS) + students + compared


@pytest.mark.parametrize("words", [words for words in shell_lines("docs/student.md") if words[0] == "segsearch"])
def test_the_commands_of_the_document_parse(words):
    command = typer.main.get_command(build()).commands[words[1]]
    command.make_context("segsearch", words[2:])


def test_every_step_makes_a_file_of_its_own_below_the_folder(line):
    made = [step.makes for step in all_steps(line)]
    assert len(set(made)) == len(made)
    assert all(line.out in path.parents for path in made)
    assert {line.submission(level) for level in LEVELS} <= set(made)


def submit_all(line, text):
    """As `submit` would, where there is no submission yet; then each level's own."""
    for level in LEVELS:
        path = line.submission(level)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(f"{text} {level}")
    line.publish()


def test_a_submission_is_of_the_student_that_was_asked_for_last(line):
    submit_all(line, "small")
    other = dataclasses.replace(line, student=OTHER)
    assert other.index_of("student") != line.index_of("student")
    assert other.index_of("ensemble") == line.index_of("ensemble")
    assert not set(line.csvs()[-1].command) & {other.index_of("student"), other.submission("student")}
    submit_all(other, "other")
    assert (line.out / "student.csv").read_text() == "other student"
    assert (line.out / "ensemble.csv").read_text() == "small ensemble"
    submit_all(line, "never")
    assert [(line.out / f"{level}.csv").read_text() for level in LEVELS] == [f"small {level}" for level in LEVELS]


def test_a_submission_of_the_best_base_model_is_of_the_one_that_is_best_now(line):
    before = line.index_of("single"), line.submission("single")
    _write(line.out / "runs" / BASE[0].name / "folds.json", 0.99)
    after = line.index_of("single"), line.submission("single")
    assert not set(before) & set(after)
    step = next(step for step in line.generations() if step.makes.parent == after[0])
    read = [path.parent.parent.name for path in map(Path, map(str, step.command)) if path.name == "test.npz"]
    assert read == [BASE[0].name] * FOLDS


@pytest.mark.parametrize("row", BASE, ids=lambda row: row.name)
def test_a_base_model_is_a_run_that_exists_and_needs_no_other_row(row):
    assert changed(student_run(row.run), row.changes).name == row.run
    assert row.start is None


@pytest.mark.parametrize(("student", "run"), [("dbof-medium", "dbof"), ("nextvlad-medium", "nextvlad")])
def test_a_middling_student_has_its_twin_among_the_ablations_runs(student, run):
    twin = twin_of(student)
    assert twin.name == run
    assert dataclasses.replace(student_run(student), name=twin.run) == student_run(twin.run)


@pytest.mark.parametrize("student", STUDENTS)
def test_a_students_twin_is_its_own_network_on_labels_alone(student):
    assert student_run(twin_of(student).run).network == student_run(student).network


def test_another_seed_lies_in_a_folder_of_its_own_and_says_so_in_every_command_that_draws(line, tmp_path):
    other = dataclasses.replace(line, trained=tmp_path).seeded(2)
    assert other.trained is None
    steps = [*other.level_two(), *other.folds(OTHER)]
    for step in steps:
        assert [step.command[place + 1] for place, word in enumerate(step.command) if word == "--seed"] == [2]
        assert line.out / "seeds" / "2" in step.makes.parents
    assert line.seeded(0) is line


def with_contexts(line, trained):
    """The same line beside an ablation that is complete."""
    for name in {name for names in variants.CONTEXTS.values() for name in names}:
        _write(trained / name / "folds.json", 0.9)
    return dataclasses.replace(line, trained=trained)


def test_members_with_and_without_context_are_compared_where_the_ablation_trained_them(line, tmp_path):
    assert variants.contexts(line) == []
    trained = tmp_path / "trained"
    found = variants.contexts(with_contexts(line, trained))
    members = [[word for word in each.step.command if trained in Path(str(word)).parents] for each in found]
    assert list(map(len, members)) == [5, 5, 10, 20]
    assert [len([path for path in paths if path.name.endswith("_alone")]) for paths in members] == [0, 5, 5, 10]


def test_finished_base_models_of_another_folder_are_taken_as_they_are(line, tmp_path):
    trained = tmp_path / "trained"
    _write(trained / BASE[0].name / "folds.json", 0.99)
    other = Line(data=line.data, out=line.out, student=line.student, serve=line.serve, trained=trained)
    (line.out / "runs" / BASE[0].name / "folds.json").unlink()  # begun here and finished there
    assert other.folder_of(BASE[0]) == trained / BASE[0].name
    assert other.folder_of(BASE[1]) == line.folder_of(BASE[1])
    assert other.best == BASE[0]


def test_a_base_model_that_is_finished_here_is_never_swapped_for_another_folders(line, tmp_path):
    own = line.folder_of(BASE[0])
    _write(tmp_path / "trained" / BASE[0].name / "folds.json", 0.99)
    other = dataclasses.replace(line, trained=tmp_path / "trained")
    assert other.folder_of(BASE[0]) == own
    assert other.best == line.best


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


def test_a_step_that_runs_is_charged_with_its_cpu_time(tmp_path):
    code = f"import time\nwhile time.process_time() < 0.1: pass\nopen({str(tmp_path / 'student one')!r}, 'w')"
    run_steps([step_that("student one", tmp_path, code)], tmp_path / "logs")
    assert cpu_seconds(tmp_path / "logs", "student ") > 0.05
    assert cpu_seconds(tmp_path / "logs", "bundle ") == 0


def test_the_report_compares_the_levels_fold_by_fold(line):
    found = findings(line)
    best = 0.8 + (len(BASE) - 1) / 100
    row = cells(levels_table(found), f"best base model ({BEST})")
    assert row[1:] == [f"{best:.4f}", f"{best - 0.02:.4f}", "0.4000", "1,000", "100", "5"]
    gain = cells(gains_table(found.levels), f"ensemble of {len(BASE)}")
    assert gain[2:] == [f"+{0.9 - best:.4f} ± 0.0000", f"+{0.9 - best:.4f}", f"+{0.9 - best:.4f}", "+0.010"]
    assert f"{2e-5 / (len(BASE) * 1e-4):.3f} of the ensemble's" in gains_table(found.levels)


def test_a_level_from_several_seeds_has_its_deviation_over_them(line):
    found = findings(line, seeds=2)
    assert cells(levels_table(found), "level two")[1] == "0.9110 ± 0.0014"
    assert cells(gains_table(found.levels), "level two")[2:4] == ["+0.0110 ± 0.0000", "+0.0100 +0.0120"]


def test_an_ensemble_costs_what_its_members_do_together(line):
    assert findings(line).levels["ensemble"].cost.bundle_bytes == len(BASE) * 5000
    one = Cost(parameters=1, cpu_us=2.0, bundle_bytes=None)
    assert Cost.together([one, dataclasses.replace(one, bundle_bytes=7)]) == Cost(
        parameters=2, cpu_us=4.0, bundle_bytes=None
    )


def test_level_two_costs_its_trees_time_and_the_ensembles(line):
    levels = findings(line).levels
    assert levels["level_two"].cost.cpu_us == pytest.approx(300 + levels["ensemble"].cost.cpu_us)
    assert cells(levels_table(findings(line)), "level two")[-1] == ""


def test_students_are_told_beside_their_twins_on_labels_alone(line):
    table = students_table(findings(line, students=(OTHER,)))
    assert cells(table, OTHER)[1:6] == ["0.8700", "0.8800", "+0.0100 ± 0.0000", "+0.0100", "+0.0000"]
    assert cells(table, line.student)[1:3] == ["0.8850", "0.8950"]


def test_the_cost_of_all_that_was_run_adds_up(line):
    table = cost_table(findings(line, seeds=2))
    assert cells(table, "base models")[1] == f"{len(BASE):.1f}"
    assert cells(table, "together")[1] == f"{2 * len(BASE):.1f}"


def test_what_was_run_elsewhere_is_missing_by_name_from_what_it_took(line):
    (line.out / "runs" / BASE[0].name / "seconds.json").unlink()
    (line.seeded(1).out / "runs" / BASE[1].name / "seconds.json").unlink()
    line.logs.mkdir()
    (line.logs / "index_ensemble.seconds.json").write_text('{"cpu_seconds": 60}')
    table = cost_table(findings(line, seeds=2))
    assert cells(table, "base models")[1] == f"{len(BASE) - 1:.1f}"
    assert cells(table, f"{line.student}, taught")[1] == ""
    assert cells(table, "bundle, indices, submissions")[1] == "1.0"
    named = table.splitlines()[-1].removeprefix("Not in it, as their time was not noted here: ").rstrip(".").split(", ")
    assert {f"`{BASE[0].name}`", f"`{BASE[1].name}` from seed 1", "bundle", "submissions", "level-two"} < set(named)
    assert not {f"`{BASE[2].name}`", f"`{BASE[0].name}` from seed 1", "indices"} & set(named)


def test_a_cost_of_which_nothing_is_missing_says_nothing_of_it(line):
    steps = (
        "scores",
        "ensemble",
        "level-two",
        f"student_{line.student}_0",
        f"bundle_{line.student}",
        "index",
        "submit",
    )
    steps = (*steps, *(f"scores_{row.name}" for row in BASE))
    line.logs.mkdir()
    for name in steps:
        (line.logs / f"{name}_x.seconds.json").write_text('{"cpu_seconds": 60}')
    (line.folder_of(twin_of(line.student)) / "seconds.json").write_text('{"cpu_seconds": 60}')
    assert cost_table(findings(line)).splitlines()[-1].startswith("| together |")


def test_the_report_renews_its_blocks_and_draws_its_pictures(line, tmp_path):
    line = with_contexts(line, tmp_path / "trained")
    for variant in variants.contexts(line):
        _write(variant.step.makes, 0.9)
    path = tmp_path / "results.md"
    path.write_text("Words.\n" + "".join(f"<!-- {name} -->\n<!-- /{name} -->\n" for name in BLOCKS))
    write_report(findings(line, students=(OTHER,)), path)
    text = path.read_text()
    assert text.startswith("Words.\n<!-- levels -->\n| level |")
    assert all(f"<!-- {name} -->\n<!--" not in text for name in BLOCKS)
    assert (tmp_path / "results" / "pareto.svg").read_text().startswith("<?xml")
    assert (tmp_path / "results" / "importance.svg").read_text() == "<svg/>"


def test_the_results_have_every_block_of_the_report():
    text = (ROOT / "docs" / "results.md").read_text()
    assert [text.count(f"<!-- {name} -->") for name in BLOCKS] == [1] * len(BLOCKS)


def test_a_report_of_what_is_deployed_alone_leaves_what_was_compared(line, tmp_path):
    path = tmp_path / "results.md"
    path.write_text("".join(f"<!-- {name} -->\nbefore\n<!-- /{name} -->\n" for name in BLOCKS))
    write_report(findings(line), path)
    left = [name for name in BLOCKS if f"<!-- {name} -->\nbefore\n" in path.read_text()]
    assert left == ["students", "ensembles", "contexts", "trees"]


def test_a_report_without_the_ablations_runs_leaves_what_they_once_gave(line, tmp_path):
    path = tmp_path / "results.md"
    path.write_text("".join(f"<!-- {name} -->\nbefore\n<!-- /{name} -->\n" for name in BLOCKS))
    write_report(findings(line, students=(OTHER,)), path)
    assert [name for name in BLOCKS if f"<!-- {name} -->\nbefore\n" in path.read_text()] == ["contexts"]


def test_facts_are_what_a_model_card_takes(line, tmp_path):
    from segsearch.export.model_card import Facts

    write_facts(findings(line), tmp_path / "card.json")
    facts = Facts.read(tmp_path / "card.json")
    assert [each.value for each in facts.quality[:3]] == pytest.approx([0.895, 0.875, 0.4])


def test_a_result_that_is_missing_is_named(line):
    (line.out / "level_two" / "level_two.json").unlink()
    with pytest.raises(DataError, match=r"level_two\.json"):
        findings(line).levels  # noqa: B018


def test_the_front_is_what_nothing_cheaper_betters():
    assert pareto_front([(3, 0.9), (1, 0.5), (2, 0.4), (4, 0.9), (1, 0.6)]) == [(1, 0.6), (3, 0.9)]


def test_the_same_figures_draw_the_same_picture(tmp_path):
    points = [("one", 1.0, 0.5), ("two", 10.0, 0.6)]
    for name in ("a.svg", "b.svg"):
        draw_pareto(tmp_path / name, points)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
