"""Students of made-up teachers: what they learn from, what is refused, and that they train as any run does."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from segsearch.core.errors import MatrixRefused
from segsearch.core.score_codes import LOGITS
from segsearch.core.segments import segment_count
from segsearch.core.videos import read_videos
from segsearch.core.vocabulary import Entry, Vocabulary
from segsearch.training.aggregations import FrameMeanConfig, LogisticConfig
from segsearch.training.checkpoint import Checkpoint
from segsearch.training.config import InputConfig, NetworkConfig, RunConfig, StageConfig, stage_two
from segsearch.training.errors import OtherRun
from segsearch.training.folder import FOLDS, DataFolder
from segsearch.training.input.survey import RatedSegments, survey_ratings
from segsearch.training.score_matrix import ScoreMatrix, VideoScores, write_score_matrix
from segsearch.training.student.cli import distil
from segsearch.training.student.config import DistilConfig
from segsearch.training.student.examples import Reading, TaughtSegments
from segsearch.training.student.lessons import Lessons
from segsearch.training.student.run import StudentRun
from tests.made_up_models import tiny_folder, write_model

STAGE = StageConfig(learning_rate=0.01, batch_size=32, epochs=1, average=None, log_every_steps=5, save_every_steps=5)
CONFIG = RunConfig(
    name="pupil",
    network=NetworkConfig(aggregation=FrameMeanConfig(), head=LogisticConfig()),
    input=InputConfig(shuffle_videos=64, shuffle_segments=512),
    stage1=STAGE,
    stage2=stage_two(STAGE, learning_rate=0.01, epochs=2),
    context_frames=1,
)
SMALL = ("stage1.epochs=1", "stage2.epochs=1", "network.aggregation.clusters=8", "network.aggregation.hidden=8")


@pytest.fixture(scope="module")
def folder(shared, tmp_path_factory):
    return tiny_folder(shared, tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="module")
def data(folder):
    return DataFolder.open(folder, with_unlabelled=True)


@pytest.fixture(scope="module")
def teachers(data, tmp_path_factory):
    """A run that scored what a student of each fold, and of all shards, learns from."""
    root = tmp_path_factory.mktemp("teachers")
    run = write_model(root, data, "run", 1, 2.0)
    for name, shards in (("train", data.train), ("test", data.unlabelled)):
        made = write_model(root, data, f"run_{name}", 2, 0.0, shards=shards)
        for fold in range(FOLDS):
            (made / f"fold{fold}" / "test.npz").replace(run / f"fold{fold}" / f"{name}.npz")
        shutil.copy(run / "fold0" / f"{name}.npz", run / f"{name}.npz")
    for fold in range(FOLDS):
        made = write_model(root, data, f"run_{fold}", 3 + fold, 2.0, shards=data.fold(fold)[0])
        (made / f"fold{fold}" / "test.npz").replace(run / f"fold{fold}" / "learned.npz")
    return run


def rated_of(data, shards):
    parts = (data.features, data.vocabulary, data.segment_vocabulary)
    return RatedSegments.joined([survey_ratings(path, *parts) for path in shards])


def lessons_of(teachers, data, fold):
    return Lessons.open(teachers, fold, data, rated_of(data, data.rated if fold is None else data.fold(fold)[0]))


def changed(teachers, tmp_path, name, **about):
    """A copy of the teachers with one matrix that says something else of itself."""
    copy = tmp_path / "changed"
    shutil.copytree(teachers, copy)
    matrix = ScoreMatrix.open(copy / name)
    rewrite(matrix, list(videos_of(matrix)), **about)
    return copy


def videos_of(matrix):
    videos = matrix.video_ids[matrix.segment_videos]
    for video in matrix.video_ids.tolist():
        rows = videos == video
        yield VideoScores(video, matrix.segment_starts[rows].astype(np.int64), np.array(matrix.codes[rows]))


def rewrite(matrix, videos, **about):
    classes = Vocabulary(tuple(Entry(label, str(label)) for label in matrix.label_indices.tolist()))
    write_score_matrix(matrix.path, dataclasses.replace(matrix.about, **about), classes, videos)


def test_a_folds_student_learns_from_all_videos_but_the_folds(teachers, data):
    lessons = lessons_of(teachers, data, 1)
    held_out = {video.id for video in read_videos(data.fold(1)[1], data.features)}
    everything = [*data.train, *data.fold(1)[0], *data.unlabelled]
    assert set(lessons.shards) == set(everything)
    assert not held_out & lessons.rows_of_videos.keys()
    assert len(lessons) == sum(segment_count(len(video.frames)) for video in read_videos(everything, data.features))


def test_a_student_of_all_shards_is_taught_by_held_out_scores(teachers, data):
    lessons = lessons_of(teachers, data, None)
    assert set(lessons.shards) == {*data.train, *data.rated, *data.unlabelled}
    assert all(matrix.about.held_out for matrix in lessons.matrices)


def test_every_segment_comes_once_with_what_teachers_and_people_say_of_it(teachers, data):
    lessons = lessons_of(teachers, data, 0)
    reading = Reading(data.features, 1, CONFIG.stage2, CONFIG.input, 0)
    batches = [
        {name: value.numpy() for name, value in batch.items()} for batch in TaughtSegments(lessons, reading).epoch(0)
    ]
    found = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    assert len(found["codes"]) == len(lessons)
    expected = {}  # a segment's own frames tell which it is
    for matrix in lessons.matrices:
        scores = {video.video_id: video for video in videos_of(matrix)}
        shards = [shard for shard in lessons.shards if shard.name in matrix.about.shards]
        for video in read_videos(shards, data.features):
            ratings = video.ratings
            for start, codes in zip(scores[video.id].starts, scores[video.id].codes, strict=True):
                labels, weights = np.zeros(len(codes)), np.zeros(len(codes))
                for at, label, score in zip(ratings.starts, ratings.labels, ratings.scores, strict=True):
                    if at == start:
                        ordinal = data.segment_vocabulary.ordinal_of(label)
                        labels[ordinal], weights[ordinal] = score, 1
                window = video.frames[max(start - 1, 0) : start + 6].tobytes()
                expected.setdefault(window, []).append((LOGITS[codes], labels, weights))
    for row in range(len(lessons)):
        window = found["codes"][row, : found["frame_count"][row]].tobytes()
        said = [found[name][row] for name in ("teacher", "labels", "weights")]
        assert any(all(map(np.array_equal, said, one)) for one in expected[window])
    assert found["weights"].sum() == len(lessons.rated_rows) > 0


def test_an_epoch_goes_on_behind_the_batches_that_were_taken(teachers, data):
    lessons = lessons_of(teachers, data, 0)
    stage = dataclasses.replace(CONFIG.stage2, frame_draw="context")
    examples = TaughtSegments(lessons, Reading(data.features, 1, stage, CONFIG.input, 0))
    for whole, rest in zip(examples.epoch(1).skip(3), examples.epoch(1, skip=3), strict=True):
        for name in whole:
            np.testing.assert_array_equal(whole[name], rest[name])


@pytest.mark.parametrize(
    ("name", "about", "reason"),
    [
        ("fold0/learned.npz", {"trained_on": ("validate00.tfrecord",)}, "learned from validate00.tfrecord"),
        ("fold0/learned.npz", {"shards": ("validate00.tfrecord",)}, "scores of validate00.tfrecord"),
        ("fold0/train.npz", {"fold": 1}, "fold 1; wanted fold 0"),
        ("fold0/train.npz", {"vocabulary_digest": "0" * 64}, "vocabulary_digest 0000"),
        ("fold0/test.npz", {"feature_space": "youtube8m/rgb1024/-2..2"}, "feature_space youtube8m/rgb1024"),
        ("fold0/test.npz", {"shards": ("elsewhere.tfrecord",)}, "scores of elsewhere.tfrecord"),
        ("fold0/learned.npz", {"shards": ("validate01.tfrecord",)}, "no scores of validate02.tfrecord"),
    ],
)
def test_teachers_that_leak_or_do_not_fit_are_refused_by_name(name, about, reason, teachers, data, tmp_path):
    copy = changed(teachers, tmp_path, name, **about)
    with pytest.raises(MatrixRefused, match=reason) as caught:
        lessons_of(copy, data, 0)
    assert caught.value.path in (copy / name, copy)


def test_scores_by_networks_that_had_learned_from_the_segment_are_refused_for_the_student_of_all(
    teachers, data, tmp_path
):
    learned = tuple(path.name for path in data.rated[:2])
    copy = changed(teachers, tmp_path, "fold1/matrix.npz", trained_on=learned)
    with pytest.raises(MatrixRefused, match=r"its network learned from validate01\.tfrecord"):
        lessons_of(copy, data, None)


def test_teachers_that_rank_are_refused(teachers, data, tmp_path):
    copy = tmp_path / "ranks"
    shutil.copytree(teachers, copy)
    (copy / "ensemble.json").write_text(json.dumps({"way": "rank"}))
    with pytest.raises(MatrixRefused, match="way rank"):
        lessons_of(copy, data, 0)


def test_a_matrix_of_other_segments_is_refused_by_name(teachers, data, tmp_path):
    copy = changed(teachers, tmp_path, "fold0/test.npz")
    matrix = ScoreMatrix.open(copy / "fold0" / "test.npz")
    first, *others = videos_of(matrix)
    rewrite(matrix, [first._replace(starts=first.starts[1:], codes=first.codes[1:]), *others])
    with pytest.raises(MatrixRefused, match=f"segments of video {first.video_id}; wanted the") as caught:
        lessons_of(copy, data, 0).check_segments(data)
    assert caught.value.path == matrix.path


@pytest.fixture(scope="module")
def student(teachers, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("student")
    run = StudentRun(
        config=CONFIG, data=data, out=out, report=lambda **_: None, distil=DistilConfig(), teachers=teachers
    )
    run.stage_one()
    run.stage_two(0)
    return run


def test_a_student_leaves_a_checkpoint_that_says_what_taught_it(student, teachers, data):
    checkpoint = Checkpoint.load(student.out / "fold0")
    assert checkpoint.training["distil"] == {"temperature": 1.0, "label_weight": 0.25, "divergence": "binary"}
    assert checkpoint.training["rated_shards"] == [path.name for path in data.fold(0)[0]]
    assert checkpoint.training["teachers"] == lessons_of(teachers, data, 0).digests
    assert [metric.split for metric in checkpoint.metrics] == ["fold 0 of 5"]
    assert ScoreMatrix.open(student.out / "fold0" / "matrix.npz").about.held_out


def test_a_student_comes_nearer_to_its_teachers(student):
    lines = [json.loads(line) for line in (student.out / "fold0" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])


def test_another_temperature_is_another_run(student):
    with pytest.raises(OtherRun, match=r"distil\.temperature"):
        dataclasses.replace(student, distil=DistilConfig(temperature=2.0))


def test_the_command_trains_a_student_with_the_average_it_is_told(teachers, folder, tmp_path):
    app = typer.Typer()
    app.command()(distil)
    arguments = ["--teachers", str(teachers), "--student", "dbof-small", "--data", str(folder), "--ema", "0.9"]
    arguments += ["--out", str(tmp_path / "out"), "--fold", "2"]
    arguments += [part for change in SMALL for part in ("--set", change)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["stage"] for line in told] == ["stage1", "fold2"]
    assert told[-1]["metrics"][0]["split"] == "fold 2 of 5"
    config = json.loads((tmp_path / "out" / "run.json").read_text())["config"]
    assert config["stage2"]["average"]["decay"] == 0.9


def test_a_folds_teachers_are_looked_at_before_anything_is_trained(folder, tmp_path):
    app = typer.Typer()
    app.command()(distil)
    arguments = ["--teachers", str(tmp_path), "--student", "dbof-small", "--data", str(folder)]
    with pytest.raises(MatrixRefused, match=r"learned\.npz"):
        CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out"), "--fold", "2"], catch_exceptions=False)
    assert not (tmp_path / "out" / "stage1").exists()
