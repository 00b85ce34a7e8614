"""The ablation's rows: runs that exist, stage 1 shared only where it is the same; and the report's blocks."""

import dataclasses
import importlib

import pytest

from segsearch.core.errors import DataError
from segsearch.training.ablation.report import renewed
from segsearch.training.ablation.rows import (
    CONTEXTS,
    DECAYS,
    NO_DIVERGENCE,
    STRUCTURES,
    TABLE_ONE,
    TEMPERATURES,
    alone,
    context_row,
    decay_row,
    rows,
    temperature_row,
)
from segsearch.training.documents import changed

ROWS = {row.name: row for row in rows()}


def config_of_row(row):
    return changed(importlib.import_module(f"segsearch.training.runs.{row.run}").RUN, row.changes)


def test_every_figure_of_the_report_has_a_row():
    swept = [*map(context_row, CONTEXTS), *map(decay_row, (None, *DECAYS)), *map(temperature_row, TEMPERATURES)]
    wanted = {*TABLE_ONE, *STRUCTURES, *map(alone, STRUCTURES), *swept, NO_DIVERGENCE}
    assert wanted == set(ROWS)
    assert len(ROWS) == len(rows())


@pytest.mark.parametrize("row", [row for row in rows() if row.start], ids=lambda row: row.name)
def test_a_row_that_starts_from_another_has_the_same_first_stage(row):
    start = ROWS[row.start]
    assert start.start is None
    mine, other = config_of_row(row), config_of_row(start)
    assert mine != other
    if mine.network.mix is not None:  # how a mix teaches its towers is no part of its weights
        mix = dataclasses.replace(mine.network.mix, distillation=other.network.mix.distillation)
        mine = dataclasses.replace(mine, network=dataclasses.replace(mine.network, mix=mix))
    assert (mine.network, mine.stage1, mine.input) == (other.network, other.stage1, other.input)


@pytest.mark.parametrize("count", CONTEXTS)
def test_the_context_sweep_holds_what_it_says(count):
    assert config_of_row(ROWS[context_row(count)]).context_frames == count


@pytest.mark.parametrize("decay", DECAYS)
def test_the_decay_sweep_holds_what_it_says(decay):
    assert config_of_row(ROWS[decay_row(decay)]).stage2.average.decay == decay


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_the_temperature_sweep_holds_what_it_says(temperature):
    found = config_of_row(ROWS[temperature_row(temperature)]).network.mix.distillation.temperature
    assert found == temperature


def test_the_report_renews_its_blocks_and_leaves_the_words(tmp_path):
    path = tmp_path / "results.md"
    path.write_text("Words.\n<!-- cost -->\nold\n<!-- /cost -->\nMore words.\n")
    assert renewed(path, {"cost": r"new \1"}) == "Words.\n<!-- cost -->\nnew \\1\n<!-- /cost -->\nMore words.\n"


def test_a_report_without_the_block_is_refused_by_name(tmp_path):
    path = tmp_path / "results.md"
    path.write_text("Words.\n")
    with pytest.raises(DataError, match="<!-- cost -->: 0 blocks"):
        renewed(path, {"cost": "new"})
