"""Whole runs on the first records of AudioSet-Segments: what is learnt, and what is left of it."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from segsearch.core.segments import segment_count
from segsearch.core.videos import read_videos
from segsearch.training.aggregations import DBoFConfig, FrameMeanConfig, LogisticConfig
from segsearch.training.checkpoint import Checkpoint
from segsearch.training.config import AverageConfig, InputConfig, NetworkConfig, RunConfig, StageConfig, stage_two
from segsearch.training.errors import OtherRun
from segsearch.training.evaluation import SegmentEvaluation
from segsearch.training.input.segments import SegmentExamples
from segsearch.training.rated_map import RATED_MAP, rated_map
from segsearch.training.score_matrix import ScoreMatrix
from segsearch.training.stages import Run
from tests.tiny_data import metrics_of, rated_in, tiny_data

STAGE1 = StageConfig(
    learning_rate=0.005, batch_size=8, epochs=6, average=AverageConfig(decay=0.9), log_every_steps=5, save_every_steps=5
)
CONFIG = RunConfig(
    name="trial",
    network=NetworkConfig(
        aggregation=DBoFConfig(clusters=32, hidden=16, activation="relu6", batch_norm_decay=0.9, pooled_dropout=0.1),
        head=LogisticConfig(),
    ),
    input=InputConfig(shuffle_videos=64, shuffle_segments=512),
    stage1=STAGE1,
    stage2=stage_two(STAGE1, learning_rate=0.002, epochs=6),
)
SMALLEST = NetworkConfig(aggregation=FrameMeanConfig(), head=LogisticConfig())


@pytest.fixture(scope="module")
def data(shared):
    return tiny_data(shared)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A run through both stages with fold 0 held out, its output folder and what it reported."""
    out, events = tmp_path_factory.mktemp("run"), []
    run = Run(config=CONFIG, data=data, out=out, report=lambda **facts: events.append(facts))
    run.stage_one()
    run.stage_two(0)
    return run, events


def test_a_run_learns(finished):
    run, _ = finished
    for stage in ("stage1", "fold0"):
        losses = [line["loss"] for line in metrics_of(run.out / stage) if "loss" in line]
        third = len(losses) // 3
        assert np.mean(losses[-third:]) < 0.9 * np.mean(losses[:third]), stage


@pytest.mark.parametrize(("held_out", "margin"), [(False, 0.2), (True, 0.02)])
def test_a_trained_network_ranks_rated_segments_better_than_chance(finished, held_out, margin):
    run, _ = finished
    shards, data = run.data.fold(0)[held_out], run.data
    stage, rated = CONFIG.stage2, rated_in(data, shards)
    examples = SegmentExamples(shards, data.features, data.segment_vocabulary, 5, stage, CONFIG.input, 0)
    codes = SegmentEvaluation(examples, rated, "").score_codes(Checkpoint.load(run.out / "fold0").build_network())
    random = np.random.default_rng(0)
    chance = np.mean([rated_map(random.permuted(codes, axis=0), rated) for _ in range(50)])
    assert rated_map(codes, rated) > chance + margin


def test_a_run_can_start_from_another_runs_first_stage(finished, tmp_path):
    run, _ = finished
    short = dataclasses.replace(CONFIG.stage2, epochs=1)
    with_less = dataclasses.replace(CONFIG, name="other", context_frames=0, stage2=short)
    alone = Run(config=with_less, data=run.data, out=tmp_path, start=run.out, report=lambda **_: None)
    alone.stage_one()
    alone.stage_two(0)
    assert not (tmp_path / "stage1").exists()
    first = Checkpoint.load(run.out / "stage1")
    assert json.loads((tmp_path / "run.json").read_text())["stage1"] == first.digest
    same = dataclasses.replace(alone, config=CONFIG, out=tmp_path / "same")
    same.stage_two(0)
    mine, theirs = (Checkpoint.load(folder / "fold0").build_network().get_weights() for folder in (same.out, run.out))
    for own, other in zip(mine, theirs, strict=True):
        np.testing.assert_array_equal(own, other)


def test_the_first_stage_of_another_network_is_refused_by_name(finished, tmp_path):
    run, _ = finished
    config = dataclasses.replace(CONFIG, network=SMALLEST)
    with pytest.raises(OtherRun) as caught:
        Run(config=config, data=run.data, out=tmp_path / "out", start=run.out, report=lambda **_: None)
    assert caught.value.field == "network.aggregation.kind"
    assert not (tmp_path / "out").exists()


def test_the_published_checkpoint_is_the_best_epochs(finished):
    run, _ = finished
    epochs = {line["step"]: line[RATED_MAP] for line in metrics_of(run.out / "fold0") if RATED_MAP in line}
    checkpoint = Checkpoint.load(run.out / "fold0")
    assert len(epochs) == CONFIG.stage2.epochs
    assert checkpoint.metrics[0].value == max(epochs.values()) == epochs[checkpoint.step]


def test_a_folds_matrix_holds_every_segment_of_its_videos_as_the_published_network_scores_them(finished):
    run, _ = finished
    checkpoint, matrix = Checkpoint.load(run.out / "fold0"), ScoreMatrix.open(run.out / "fold0" / "matrix.npz")
    held_out = list(read_videos(run.data.fold(0)[1], run.data.features))
    assert matrix.video_ids.tolist() == [video.id for video in held_out]
    assert len(matrix) == sum(segment_count(len(video.frames)) for video in held_out)
    rated = rated_in(run.data, run.data.fold(0)[1])
    # A batch of other segments adds up in another order: scores may fall to the neighbouring code.
    value = rated_map(matrix.codes[matrix.rows_of(rated.ids)], rated)
    assert value == pytest.approx(checkpoint.metrics[0].value, abs=0.005)


def test_a_folds_matrix_says_what_made_it(finished):
    run, _ = finished
    checkpoint, about = Checkpoint.load(run.out / "fold0"), ScoreMatrix.open(run.out / "fold0" / "matrix.npz").about
    assert (about.fold, about.stage, about.checkpoint) == (0, "fold0", checkpoint.digest)
    assert about.vocabulary_digest == run.data.segment_vocabulary.digest
    assert about.held_out
    assert set(about.trained_on) == {path.name for path in run.data.fold(0)[0]}


def test_stage_two_scores_the_segment_classes_in_their_order(finished):
    run, _ = finished
    assert len(Checkpoint.load(run.out / "stage1").vocabulary) == 527
    assert Checkpoint.load(run.out / "fold0").vocabulary.digest == run.data.segment_vocabulary.digest


def test_a_run_reports_each_stage(finished):
    _, events = finished
    assert [(event["event"], event["stage"]) for event in events] == [("stage", "stage1"), ("stage", "fold0")]
    json.dumps(events)


def test_a_finished_stage_is_left_alone(finished):
    run, _ = finished
    before = _files(run.out)
    run.stage_two(0)
    assert _files(run.out) == before


def test_a_folder_with_another_run_is_refused_by_the_first_setting_that_differs(finished):
    run, _ = finished
    with pytest.raises(OtherRun, match="seed is 0, wanted 1"):
        Run(config=CONFIG, data=run.data, out=run.out, seed=1, report=print)


def test_five_folds_are_summed_up_over_every_rated_segment(data, tmp_path):
    quick = StageConfig(batch_size=16, epochs=1, learning_rate=0.002, average=None)
    config = RunConfig(name="trial", network=SMALLEST, stage1=quick, stage2=stage_two(quick, epochs=1))
    run = Run(config=config, data=data, out=tmp_path, report=lambda **_: None)
    run.stage_one()
    for fold in range(5):
        run.stage_two(fold)
    summary = run.summarise()
    folds = [Checkpoint.load(tmp_path / f"fold{fold}").metrics[0].value for fold in range(5)]
    assert summary["fold_rated_map_at_100k"] == pytest.approx(folds, abs=0.005)
    assert summary["mean_rated_map_at_100k"] == pytest.approx(np.mean(folds))
    ratings = [video.ratings for video in read_videos(data.rated, data.features)]
    pairs = sum(len(set(zip(r.starts, r.labels, strict=True))) for r in ratings)
    assert summary["rated_pairs"] == pairs
    document = json.loads((tmp_path / "folds.json").read_text())
    precisions = document.pop("pooled_average_precision")
    assert document == summary
    assert np.mean(list(precisions.values())) == pytest.approx(summary["pooled_rated_map_at_100k"])


def test_without_a_held_out_fold_the_last_epoch_is_published(data, tmp_path):
    quick = StageConfig(batch_size=16, epochs=2, learning_rate=0.002)
    config = RunConfig(name="trial", network=SMALLEST, stage1=quick, stage2=stage_two(quick, epochs=2))
    run = Run(config=config, data=data, out=tmp_path, report=lambda **_: None)
    run.stage_one()
    run.stage_two(None)
    checkpoint = Checkpoint.load(tmp_path / "final")
    assert checkpoint.metrics == ()
    assert checkpoint.step == metrics_of(tmp_path / "final")[-1]["step"]


def _files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
