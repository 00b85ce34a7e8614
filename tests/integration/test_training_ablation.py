"""The ablation's queue with real trainings: rows share a stage 1, failures are told, what is done stays done."""

import json

import pytest

from segsearch.training.ablation.queue import Queue, RowFailed
from segsearch.training.ablation.results import Result
from segsearch.training.ablation.rows import Row
from tests.made_up_models import tiny_folder

SMALL = ("network.aggregation.clusters=16", "network.aggregation.hidden=8", "stage1.epochs=1", "stage2.epochs=2")


@pytest.fixture(scope="module")
def queue(shared, tmp_path_factory):
    """A row, a row that starts from it, one that cannot be trained, and one that starts from that; all tried once."""
    rows = [
        Row(name="first", run="dbof_audioset", changes=SMALL),
        Row(name="second", run="dbof_audioset", changes=(*SMALL, "context_frames=0"), start="first"),
        Row(name="bad", run="dbof_audioset", changes=("stage1.epochs=0",)),
        Row(name="after_bad", run="dbof_audioset", start="bad"),
    ]
    data = tiny_folder(shared, tmp_path_factory.mktemp("data") / "tiny")
    queue = Queue(rows=rows, data=str(data), out=tmp_path_factory.mktemp("ablation"), workers=2, seed=3)
    with pytest.raises(RowFailed) as caught:
        queue.run()
    assert caught.value.rows == ["bad", "after_bad"]
    return queue


@pytest.mark.parametrize("name", ["first", "second"])
def test_a_trained_row_has_its_results(queue, name):
    result = Result.read(queue.out, name)
    assert result.folds.shape == (5,)
    assert result.curves.shape == (5, 2)
    assert result.mean == pytest.approx(
        json.loads((queue.out / name / "folds.json").read_text())["mean_rated_map_at_100k"]
    )
    # 128 inputs to 16 clusters to 8 hidden to 100 classes, and a scale and a shift for each of the first three.
    assert result.parameters == 128 * 16 + 16 * 8 + 8 * 100 + 100 + 2 * (128 + 16 + 8)
    assert result.cpu_seconds > 0


def test_rows_are_trained_from_the_queues_seed(queue):
    assert json.loads((queue.out / "second" / "run.json").read_text())["seed"] == 3


def test_a_row_shares_the_first_stage_it_starts_from(queue):
    assert (queue.out / "first" / "stage1").is_dir()
    assert not (queue.out / "second" / "stage1").exists()


def test_a_failed_rows_log_says_why(queue):
    assert "stage1.epochs" in (queue.out / "bad" / "train.log").read_text()


def test_rows_that_are_done_are_not_trained_again(queue):
    log = queue.out / "first" / "train.log"
    before = log.read_bytes()
    Queue(rows=queue.rows[:2], data=queue.data, out=queue.out, workers=2).run()
    assert log.read_bytes() == before
