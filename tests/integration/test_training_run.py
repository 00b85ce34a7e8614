"""Whole runs on the first records of AudioSet-Segments: learning, folds, resuming after a kill, and bad data."""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from segsearch.core.errors import BadRecord, BadShard, ConfigError, DataError, NoFiles
from segsearch.core.records import read_records, write_records
from segsearch.core.segments import segment_count
from segsearch.core.videos import read_videos, serialise_video
from segsearch.training.aggregations import DBoFConfig, FrameMeanConfig, LogisticConfig
from segsearch.training.checkpoint import Checkpoint
from segsearch.training.config import AverageConfig, InputConfig, NetworkConfig, RunConfig, StageConfig, stage_two
from segsearch.training.errors import OtherRun, TrainingDiverged
from segsearch.training.evaluation import SegmentEvaluation
from segsearch.training.folder import DataFolder
from segsearch.training.input.segments import SegmentExamples
from segsearch.training.input.survey import RatedSegments, survey_ratings
from segsearch.training.rated_map import RATED_MAP, rated_map
from segsearch.training.score_matrix import ScoreMatrix
from segsearch.training.stages import Run

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
    return _open(shared, shared / "data" / "tiny")


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
        losses = [line["loss"] for line in _metrics(run.out / stage) if "loss" in line]
        third = len(losses) // 3
        assert np.mean(losses[-third:]) < 0.9 * np.mean(losses[:third]), stage


@pytest.mark.parametrize(("held_out", "margin"), [(False, 0.2), (True, 0.02)])
def test_a_trained_network_ranks_rated_segments_better_than_chance(finished, held_out, margin):
    run, _ = finished
    shards, data = run.data.fold(0)[held_out], run.data
    surveys = [survey_ratings(path, *_spaces(data)) for path in shards]
    stage, rated = CONFIG.stage2, RatedSegments.joined(surveys)
    examples = SegmentExamples(shards, data.features, data.segment_vocabulary, 5, stage, CONFIG.input, 0)
    codes = SegmentEvaluation(examples, rated, "").score_codes(Checkpoint.load(run.out / "fold0").build_network())
    random = np.random.default_rng(0)
    chance = np.mean([rated_map(random.permuted(codes, axis=0), rated) for _ in range(50)])
    assert rated_map(codes, rated) > chance + margin


def test_a_run_can_start_from_another_runs_first_stage(finished, tmp_path):
    run, _ = finished
    with_less = dataclasses.replace(CONFIG, name="other", context_frames=0)
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
    epochs = {line["step"]: line[RATED_MAP] for line in _metrics(run.out / "fold0") if RATED_MAP in line}
    checkpoint = Checkpoint.load(run.out / "fold0")
    assert len(epochs) == CONFIG.stage2.epochs
    assert checkpoint.metrics[0].value == max(epochs.values()) == epochs[checkpoint.step]


def test_a_folds_matrix_holds_every_segment_of_its_videos_as_the_published_network_scores_them(finished):
    run, _ = finished
    checkpoint, matrix = Checkpoint.load(run.out / "fold0"), ScoreMatrix.open(run.out / "fold0" / "matrix.npz")
    held_out = list(read_videos(run.data.fold(0)[1], run.data.features))
    assert matrix.video_ids.tolist() == [video.id for video in held_out]
    assert len(matrix) == sum(segment_count(len(video.frames)) for video in held_out)
    rated = RatedSegments.joined([survey_ratings(path, *_spaces(run.data)) for path in run.data.fold(0)[1]])
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
    pairs = sum(len(set(zip(r.starts, r.labels, strict=True))) for r in _ratings(data))
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
    assert checkpoint.step == _metrics(tmp_path / "final")[-1]["step"]


def test_a_killed_run_goes_on_to_the_same_weights(shared, tmp_path):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    _train(shared, straight).wait()
    for stage in ("stage1", "final"):
        process = _train(shared, killed)
        _wait_for_step(killed / stage, 15, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (killed / stage / "checkpoint.json").exists()
    assert _train(shared, killed).wait() == 0
    for stage in ("stage1", "final"):
        assert (killed / stage / "weights.npz").read_bytes() == (straight / stage / "weights.npz").read_bytes()
        assert _metrics(killed / stage) == _metrics(straight / stage)


def test_a_loss_that_is_not_a_number_stops_the_stage_and_names_the_step(data, tmp_path):
    wild = StageConfig(batch_size=8, epochs=3, learning_rate=1e38, clip_norm=0.0, log_every_steps=1, save_every_steps=1)
    config = RunConfig(name="trial", network=SMALLEST, stage1=wild)
    with pytest.raises(TrainingDiverged) as caught:
        Run(config=config, data=data, out=tmp_path, report=print).stage_one()
    assert 1 <= caught.value.step <= 15
    assert not (tmp_path / "stage1" / "checkpoint.json").exists()


@pytest.mark.parametrize(
    ("spoil", "error", "place"),
    [
        (lambda payloads, _: [payloads[0], payloads[1][:-9]], BadRecord, "record 1, payload"),
        (lambda payloads, _: [payloads[0], payloads[1].replace(b"audio", b"sound")], BadRecord, "record 1, audio"),
        (lambda _, videos: [_with(videos[0]), _with(videos[1], width=127)], BadRecord, r"record 1, audio\[0\]"),
        (lambda _, videos: [_with(videos[0]), _with(videos[1], labels=[9999])], BadRecord, "record 1, labels"),
    ],
)
def test_a_record_that_cannot_be_trained_on_is_named(shared, data, tmp_path, spoil, error, place):
    payloads = list(read_records(data.train[0]))[:2]
    videos = list(read_videos(data.train[:1], data.features))[:2]
    write_records(tmp_path / "train.tfrecord", spoil(payloads, videos))
    with pytest.raises(error, match=f"train.tfrecord, {place}"):
        _stage_one(shared, data, tmp_path)


def test_a_record_with_a_wrong_checksum_is_named(shared, data, tmp_path):
    write_records(tmp_path / "train.tfrecord", list(read_records(data.train[0]))[:2])
    content = bytearray((tmp_path / "train.tfrecord").read_bytes())
    content[-100] ^= 1
    (tmp_path / "train.tfrecord").write_bytes(content)
    with pytest.raises(BadRecord, match=r"train.tfrecord, record 1, payload: wrong CRC32C"):
        _stage_one(shared, data, tmp_path)


def test_a_shard_that_ends_early_is_named(shared, data, tmp_path):
    content = data.train[0].read_bytes()
    (tmp_path / "train.tfrecord").write_bytes(content[: len(content) // 2])
    with pytest.raises(BadShard, match=r"train.tfrecord, record \d+, payload: file ends"):
        _stage_one(shared, data, tmp_path)


def test_unlabelled_shards_cannot_train_stage_one(shared, tmp_path):
    tiny = shared / "data" / "tiny"
    data = _open(shared, tiny, train=str(tiny / "test*.tfrecord"))
    with pytest.raises(BadRecord, match="record 0, labels: missing"):
        Run(config=CONFIG, data=data, out=tmp_path / "out", report=print).stage_one()


def test_a_rated_class_that_is_no_segment_class_is_named_before_stage_one(shared, tmp_path):
    (tmp_path / "few.csv").write_text("Index\n0\n")
    data = _open(shared, shared / "data" / "tiny", segment_labels=tmp_path / "few.csv")
    with pytest.raises(BadRecord, match=r"validate\d+.tfrecord, record \d+, segment_labels"):
        Run(config=CONFIG, data=data, out=tmp_path / "out", report=print).stage_one()


def test_a_pattern_that_matches_nothing_is_refused(shared):
    with pytest.raises(NoFiles, match="nowhere"):
        _open(shared, shared / "data" / "tiny", train="nowhere/*.tfrecord")


def test_segment_classes_outside_the_vocabulary_are_refused(shared, tmp_path):
    (tmp_path / "ids.csv").write_text("Index\n0\n70000\n")
    with pytest.raises(DataError, match="70000 is outside the vocabulary"):
        _open(shared, shared / "data" / "tiny", segment_labels=tmp_path / "ids.csv")


def test_folds_need_as_many_shards(shared):
    tiny = shared / "data" / "tiny"
    with pytest.raises(ConfigError, match="5 rated shards or more"):
        _open(shared, tiny, rated=str(tiny / "validate00.tfrecord")).fold(0)


def test_each_rated_shard_is_held_out_once(data):
    held_out = [file for number in range(5) for file in data.fold(number)[1]]
    assert sorted(held_out) == list(data.rated)
    assert all(set(trained).isdisjoint(held) for trained, held in map(data.fold, range(5)))


def _open(shared: Path, folder: Path, **parts) -> DataFolder:
    known = {
        "vocabulary": shared / "data" / "vocabulary.csv",
        "segment_labels": shared / "data" / "segment_label_ids.csv",
    }
    return DataFolder.open(folder, **{**known, **parts})


def _spaces(data: DataFolder):
    return data.features, data.vocabulary, data.segment_vocabulary


def _stage_one(shared: Path, data: DataFolder, folder: Path) -> None:
    spoiled = _open(shared, data.train[0].parent, train=str(folder / "train.tfrecord"), features="audio:128")
    Run(config=CONFIG, data=spoiled, out=folder / "out", report=print).stage_one()


def _with(video, width=128, labels=None) -> bytes:
    from segsearch.core.features import FeatureSpec
    from segsearch.core.videos import Video

    kept = video.labels if labels is None else np.array(labels, np.int64)
    return serialise_video(Video(video.id, kept, frames=video.frames[:, :width]), FeatureSpec.parse(f"audio:{width}"))


def _ratings(data: DataFolder):
    return [video.ratings for video in read_videos(data.rated, data.features)]


def _metrics(directory: Path) -> list[dict]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def _files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _train(shared: Path, out: Path) -> subprocess.Popen:
    """`segsearch train` in a process of its own, small and long enough to be killed on the way."""
    small = {
        "network.aggregation": {"kind": "dbof", "clusters": 32, "hidden": 16, "pooled_dropout": 0.1},
        "input.shuffle_videos": 16,
        **{f"stage{n}.{key}": value for n in (1, 2) for key, value in _KILLABLE.items()},
        "stage1.batch_size": 4,
    }
    folder = shared / "data"
    command = [sys.executable, "-c", "from segsearch.core.cli import main; main()", "train", "dbof_yt8m"]
    command += ["--data", folder / "tiny", "--vocabulary", folder / "vocabulary.csv", "--out", out]
    command += ["--segment-labels", folder / "segment_label_ids.csv"]
    for field, value in small.items():
        command += ["--set", f"{field}={json.dumps(value)}"]
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


_KILLABLE = {"batch_size": 16, "epochs": 4, "log_every_steps": 2, "save_every_steps": 4, "evaluate_every_epochs": 4}


def _wait_for_step(directory: Path, step: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not (directory / "metrics.jsonl").exists() or not any(line["step"] >= step for line in _lines(directory)):
        assert process.poll() is None, "training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _lines(directory: Path) -> list[dict]:
    """The journal as far as it is written."""
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().split("\n")[:-1]]
