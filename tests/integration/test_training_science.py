"""Whole second stages under each way of teaching, and the matrices that they leave; on a few real records."""

import json
import shutil

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from segsearch.core.errors import BadRecord, ConfigError, NoFiles
from segsearch.core.records import read_records, write_records
from segsearch.core.score_codes import decode
from segsearch.core.videos import Video, read_videos, serialise_video
from segsearch.training.aggregations import DBoFConfig, LogisticConfig
from segsearch.training.checkpoint import Checkpoint
from segsearch.training.config import AverageConfig, InputConfig, NetworkConfig, RunConfig, StageConfig, stage_two
from segsearch.training.documents import changed
from segsearch.training.evaluation import SegmentEvaluation
from segsearch.training.input.segments import SegmentExamples
from segsearch.training.score_matrix import ScoreMatrix
from segsearch.training.score_matrix_cli import score_matrix
from segsearch.training.stages import Run
from tests.tiny_data import rated_in, tiny_data

STAGE1 = StageConfig(batch_size=16, epochs=1, learning_rate=0.01, average=AverageConfig(decay=0.9), log_every_steps=5)
CONFIG = RunConfig(
    name="trial",
    network=NetworkConfig(
        aggregation=DBoFConfig(clusters=16, hidden=8, pooling="mean", batch_norm_decay=0.9), head=LogisticConfig()
    ),
    input=InputConfig(shuffle_videos=64, shuffle_segments=512),
    stage1=STAGE1,
    stage2=stage_two(STAGE1, epochs=2),
)
TEACHER = 'stage2.mean_teacher={"weight": 100.0, "ramp_up_steps": 0, "noise": 0.5}'


@pytest.fixture(scope="module")
def data(shared):
    return tiny_data(shared, with_unlabelled=True)


@pytest.fixture(scope="module")
def plain(data, tmp_path_factory):
    """A run with fold 0 held out and every setting as it stands."""
    run = Run(config=CONFIG, data=data, out=tmp_path_factory.mktemp("plain"), report=lambda **_: None)
    run.stage_one()
    run.stage_two(0)
    return run


@pytest.mark.parametrize(
    "change",
    [
        "stage2.labels.weak_negatives=each",
        "stage2.labels.weak_negatives=mean",
        "stage2.labels.class_power=0.5",
        'stage2.average={"kind": "swa"}',
        "stage2.average.batch_norm=copied",
        TEACHER,
    ],
)
def test_a_way_of_teaching_can_be_set_and_changes_what_is_learnt(plain, data, tmp_path, change):
    weights = _stage_two(plain, data, tmp_path, change)
    assert not np.allclose(weights, _weights(plain), rtol=0, atol=1e-6)


def test_weak_negatives_push_the_unrated_classes_down(plain, data, tmp_path):
    change = "stage2.labels.weak_negatives=each"
    _stage_two(plain, data, tmp_path, change, "stage2.labels.weak_weight=1.0", "stage2.learning_rate=0.02")
    before, after = (ScoreMatrix.open(out / "fold0" / "matrix.npz").codes for out in (plain.out, tmp_path))
    assert np.median(after) < np.median(before) - 100


def test_weak_negatives_need_the_videos_labels(shared, data, tmp_path):
    video = next(iter(read_videos(data.rated, data.features)))
    bare = Video(video.id, None, video.ratings, frames=video.frames)
    for number in range(5):
        write_records(tmp_path / f"validate{number}.tfrecord", [serialise_video(bare, data.features)])
    bare_data = tiny_data(shared, rated=str(tmp_path / "validate*.tfrecord"))
    config = changed(CONFIG, ["stage2.labels.weak_negatives=each"])
    with pytest.raises(BadRecord, match=r"validate0\.tfrecord, record 0, labels: missing"):
        Run(config=config, data=bare_data, out=tmp_path / "out", report=print).stage_one()


def test_a_mean_teacher_without_unlabelled_shards_says_so(shared):
    with pytest.raises(NoFiles, match=r"nowhere"):
        tiny_data(shared, unlabelled="nowhere/*.tfrecord", with_unlabelled=True)


def test_unlabelled_shards_are_not_looked_for_unless_asked(shared):
    assert tiny_data(shared, unlabelled="nowhere/*.tfrecord").unlabelled == ()


def test_an_unlabelled_record_that_cannot_be_read_is_named(shared, plain, data, tmp_path):
    payloads = list(read_records(data.unlabelled[0]))
    write_records(tmp_path / "test.tfrecord", [payloads[0], payloads[1].replace(b"audio", b"sound")])
    spoiled = tiny_data(shared, unlabelled=str(tmp_path / "test.tfrecord"), with_unlabelled=True)
    with pytest.raises(BadRecord, match=r"test\.tfrecord, record 1, audio"):
        _stage_two(plain, spoiled, tmp_path / "out", TEACHER)


def test_shifted_windows_are_averaged_and_no_shift_changes_nothing(plain, data):
    shards, network = data.fold(0)[1], Checkpoint.load(plain.out / "fold0").build_network()
    rated = rated_in(data, shards)
    examples = SegmentExamples(shards, data.features, data.segment_vocabulary, 5, CONFIG.stage2, CONFIG.input, 0)
    usual, still, shifted = (
        SegmentEvaluation(examples, rated, "", *shift).score_codes(network) for shift in ((), (0,), (2,))
    )
    np.testing.assert_array_equal(usual, still)
    assert not np.array_equal(usual, shifted)
    assert "up to 2 frames" in SegmentEvaluation(examples, rated, "", 2)(network)[0].protocol
    one_by_one = [network(batch["codes"], batch["frame_count"])["scores"] for by in range(-2, 3)
                  for batch in examples.in_order(by)]  # fmt: skip
    np.testing.assert_allclose(decode(shifted), np.mean(one_by_one, axis=0), atol=2e-4)


def test_a_shift_reaches_the_folds_matrix(plain, data, tmp_path):
    _stage_two(plain, data, tmp_path, "stage2.evaluate_shift=1")
    before, after = (ScoreMatrix.open(out / "fold0" / "matrix.npz") for out in (plain.out, tmp_path))
    assert (before.about.shift, after.about.shift) == (0, 1)
    assert before.table_digest == after.table_digest
    assert not np.array_equal(before.codes, after.codes)


@pytest.fixture
def command():
    """Calls `segsearch score-matrix` in this process; errors come as they are raised."""
    app = typer.Typer()
    app.command()(score_matrix)

    def call(*arguments):
        result = CliRunner().invoke(app, list(map(str, arguments)))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return json.loads(result.stdout)

    return call


def test_the_command_writes_the_matrix_that_training_writes(command, plain, tmp_path):
    shard = plain.data.fold(0)[1][0]
    told = command(plain.out / "fold0", "--data", shard, "--out", tmp_path / "m.npz")
    assert (tmp_path / "m.npz").read_bytes() == (plain.out / "fold0" / "matrix.npz").read_bytes()
    matrix = ScoreMatrix.open(tmp_path / "m.npz")
    assert told == {
        "matrix": str(tmp_path / "m.npz"),
        "videos": len(matrix.video_ids),
        "segments": len(matrix),
        "classes": 100,
        "checkpoint": Checkpoint.load(plain.out / "fold0").digest,
        "table": matrix.table_digest,
        "held_out": True,
        "skipped": 0,
    }


def test_the_command_says_of_shards_that_were_trained_on_that_they_are_not_held_out(command, plain, tmp_path):
    shards = [part for path in plain.data.rated for part in ("--data", path)]
    assert not command(plain.out / "fold0", *shards, "--out", tmp_path / "m.npz")["held_out"]


def test_the_command_scores_shards_without_labels(command, plain, data, tmp_path):
    told = command(plain.out / "fold0", "--data", data.unlabelled[0], "--out", tmp_path / "m.npz", "--shift", 1)
    assert told["videos"] == len(list(read_videos(data.unlabelled[:1], data.features)))
    assert told["held_out"]


def test_the_command_scores_shards_behind_a_url(command, plain, tmp_path):
    shard = plain.data.fold(0)[1][0]
    command(plain.out / "fold0", "--data", shard.as_uri(), "--cache", tmp_path / "cache", "--out", tmp_path / "m.npz")
    assert (tmp_path / "m.npz").read_bytes() == (plain.out / "fold0" / "matrix.npz").read_bytes()


def test_the_command_stops_at_a_bad_record_or_leaves_it_out_as_asked(command, plain, data, tmp_path):
    payloads = list(read_records(data.unlabelled[0]))
    write_records(tmp_path / "bad.tfrecord", [payloads[0].replace(b"audio", b"sound"), payloads[1]])
    arguments = (plain.out / "fold0", "--data", tmp_path / "bad.tfrecord", "--out", tmp_path / "m.npz")
    with pytest.raises(BadRecord, match=r"bad\.tfrecord, record 0, audio"):
        command(*arguments)
    assert not (tmp_path / "m.npz").exists()
    told = command(*arguments, "--skip-bad")
    assert (told["videos"], told["skipped"]) == (1, 1)


@pytest.mark.parametrize("change", ["stage1.labels.weak_negatives=each", 'stage1.mean_teacher={"noise": 0.1}'])
def test_what_only_segments_know_is_refused_for_stage_one(change):
    with pytest.raises(ConfigError, match=r"stage1\."):
        changed(CONFIG, [change])


def _stage_two(plain, data, out, *changes) -> np.ndarray:
    """The plain run's stage 2 with settings changed; what its weights came to."""
    shutil.copytree(plain.out / "stage1", out / "stage1")
    run = Run(config=changed(CONFIG, changes), data=data, out=out, report=lambda **_: None)
    run.stage_two(0)
    return _weights(run)


def _weights(run) -> np.ndarray:
    weights = Checkpoint.load(run.out / "fold0").build_network().get_weights()
    return np.concatenate([weight.ravel() for weight in weights])
