"""The report that an ablation writes: what its tables say of results whose figures are known."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from segsearch.core.errors import DataError
from segsearch.training.ablation.report import write_report
from segsearch.training.ablation.results import Result, class_names
from segsearch.training.ablation.rows import rows
from segsearch.training.rated_map import RATED_MAP

NAMES = [row.name for row in rows()]
EPOCHS = 3


def write_result(folder, best, seconds=60.0):
    """A finished row whose folds have a MAP of `best` and the four numbers above it, 0.01 apart."""
    values = [best + 0.01 * fold for fold in range(5)]
    folds = {
        "fold_rated_map_at_100k": values,
        "pooled_rated_map_at_100k": best,
        "pooled_average_precision": {"0": 0.25, "1": 0.75},
    }
    for fold, value in enumerate(values):
        (folder / f"fold{fold}").mkdir(parents=True)
        lines = [{"step": step, RATED_MAP: value - 0.1 / (step + 1)} for step in range(EPOCHS)]
        lines.insert(0, {"step": 0, "loss": 1.0})
        (folder / f"fold{fold}" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "folds.json").write_text(json.dumps(folds))
    (folder / "seconds.json").write_text(json.dumps({"cpu_seconds": seconds}))
    np.savez(folder / "fold0" / "weights.npz", **{"head/kernel": np.zeros((30, 40)), "bn/moving_mean": np.zeros(7)})


@pytest.fixture
def trained(tmp_path):
    """Every row's results, the first row's the worst and each next one's 0.001 better; a vocabulary beside them."""
    for number, name in enumerate(NAMES):
        write_result(tmp_path / "out" / name, 0.5 + 0.001 * number)
    (tmp_path / "vocabulary.csv").write_text("Index,Name\n0,Speech\n1,Music\n")
    return tmp_path


def cells(text, first):
    """The table's line that begins with this cell."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture
def report(trained):
    path = trained / "results.md"
    write_report(trained / "out", path, str(trained))
    return path


def test_a_step_of_table_one_is_held_against_the_row_above_it(trained, report):
    plain, context = (Result.read(trained / "out", name) for name in ("dbof_plain", "dbof_context"))
    figure = f"{context.mean:.4f} ± 0.0158"
    found = cells(report.read_text(), "+ context")
    assert found[1:3] == [figure, f"{context.pooled:.4f}"]
    assert found[3] == f"{context.mean - plain.mean:+.4f} ± 0.0000"
    assert found[4] == "1,200"  # moving statistics are no parameters


def test_table_two_is_sorted_and_names_what_context_brings(trained, report):
    text = report.read_text()
    table = text[text.index("<!-- table-2 -->") : text.index("<!-- /table-2 -->")]
    names = [line.split("|")[1].strip() for line in table.splitlines()[3:]]
    assert (names[0], names[-1]) == ("MixNeXtVLAD", "DBoF")
    with_context, without = (Result.read(trained / "out", name) for name in ("lstm_moe", "lstm_moe_alone"))
    found = cells(table, "LSTM, bidirectional, MoE")
    assert found[5] == f"{with_context.mean - without.mean:+.4f} ± 0.0000"
    assert found[7] == "1.0"  # minutes of CPU


def test_every_picture_is_drawn_and_linked(report):
    linked = [part.partition(")")[0] for part in report.read_text().split("](")[1:]]
    assert len(linked) == 5
    for name in linked:
        assert ElementTree.parse(report.parent / name).getroot().tag.endswith("svg")


def test_the_same_results_give_the_same_report(trained, report):
    before = {path.name: path.read_bytes() for path in (report, *report.with_suffix("").iterdir())}
    write_report(trained / "out", report, str(trained))
    assert {path.name: path.read_bytes() for path in (report, *report.with_suffix("").iterdir())} == before


def test_a_row_that_is_not_done_leaves_a_blank_and_is_named(trained):
    for name in ("lstm_moe_alone", "dbof_context", "dbof_context_5"):
        (trained / "out" / name / "folds.json").unlink()
    write_report(trained / "out", trained / "results.md", str(trained))
    text = (trained / "results.md").read_text()
    assert cells(text, "LSTM, bidirectional, MoE")[3:6] == ["", "", ""]
    assert cells(text, "+ context")[1:] == ["", "", "", ""]
    assert cells(text, "+ EMA")[1] != ""
    assert "Not trained yet: `dbof_context`, `dbof_context_5`, `lstm_moe_alone`." in text


def test_a_row_whose_results_are_damaged_is_named_and_nothing_is_written(trained):
    (trained / "out" / "gru" / "folds.json").write_text("{}")
    with pytest.raises(DataError, match="gru, results"):
        write_report(trained / "out", trained / "results.md", str(trained))
    assert not (trained / "results.md").exists()


def test_an_epoch_that_was_judged_twice_around_a_kill_is_one_point_of_its_curve(trained):
    path = trained / "out" / "dbof" / "fold2" / "metrics.jsonl"
    path.write_text(path.read_text() + path.read_text().splitlines()[-1] + "\n")
    assert Result.read(trained / "out", "dbof").curves.shape == (5, EPOCHS)


def test_the_classes_of_a_folder_behind_a_url_have_their_names(trained, tmp_path):
    assert class_names(trained.as_uri(), tmp_path / "cache") == {0: "Speech", 1: "Music"}


def test_without_any_structure_there_is_nothing_to_report(tmp_path):
    with pytest.raises(DataError, match="none of a structure"):
        write_report(tmp_path, tmp_path / "results.md", str(tmp_path))
