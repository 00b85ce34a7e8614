"""What a run's five networks have to say to students: written once, complete, and again for another checkpoint."""

import json
import shutil

import numpy as np
import pytest

from segsearch.core.score_codes import decode
from segsearch.core.videos import read_videos
from segsearch.training.aggregations import FrameMeanConfig, LogisticConfig
from segsearch.training.checkpoint import Checkpoint
from segsearch.training.config import NetworkConfig
from segsearch.training.folder import FOLDS, DataFolder
from segsearch.training.input.survey import RatedSegments, survey_ratings
from segsearch.training.models.network import Network
from segsearch.training.score_matrix import ScoreMatrix
from segsearch.training.scoring import score_videos, write_matrix
from segsearch.training.student.lessons import Lessons
from segsearch.training.student.scores import main, score_run
from tests.made_up_models import tiny_folder

NETWORK = NetworkConfig(aggregation=FrameMeanConfig(), head=LogisticConfig())


@pytest.fixture(scope="module")
def folder(shared, tmp_path_factory):
    return tiny_folder(shared, tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="module")
def data(folder):
    return DataFolder.open(folder, with_unlabelled=True)


def write_checkpoint(run, fold, data):
    """A network as it starts, with its held-out matrix."""
    checkpoint = Checkpoint(
        directory=run / f"fold{fold}", run="trial", network_config=NETWORK, features=data.features,
        vocabulary=data.segment_vocabulary, context_frames=1, stage=f"fold{fold}", step=0,
        training={"fold": fold, "rated_shards": [path.name for path in data.fold(fold)[0]]},
    )  # fmt: skip
    network = Network(NETWORK, data.features, len(data.segment_vocabulary))
    checkpoint.write(network)
    write_matrix(checkpoint.directory / "matrix.npz", checkpoint, data.fold(fold)[1], network=network)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    for fold in range(FOLDS):
        write_checkpoint(run, fold, data)
    return run


@pytest.fixture(scope="module")
def scored(run, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("scores")
    score_run(run, data, out)
    return out


@pytest.mark.parametrize("fold", range(FOLDS))
def test_what_is_written_teaches_a_student_of_each_fold(fold, scored, data):
    parts = (data.features, data.vocabulary, data.segment_vocabulary)
    rated = RatedSegments.joined([survey_ratings(path, *parts) for path in data.fold(fold)[0]])
    lessons = Lessons.open(scored, fold, data, rated)
    lessons.check_segments(data)
    assert set(lessons.shards) == {*data.train, *data.fold(fold)[0], *data.unlabelled}


def test_the_scores_are_those_of_the_folds_own_network(scored, run, data):
    network = Checkpoint.load(run / "fold3").build_network()
    expected = np.concatenate([part.codes for part in score_videos(network, read_videos(data.train, data.features), 1)])
    np.testing.assert_array_equal(ScoreMatrix.open(scored / "fold3" / "train.npz").codes, expected)
    other = ScoreMatrix.open(scored / "fold2" / "train.npz").codes
    assert np.abs(decode(other) - decode(expected)).max() > 0.01


def test_only_what_is_missing_or_of_another_checkpoint_is_scored_again(scored, run, data, tmp_path):
    run, out = (shutil.copytree(source, tmp_path / source.name) for source in (run, scored))
    (out / "fold1" / "test.npz").unlink()
    write_checkpoint(run, 4, data)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}
    score_run(run, data, out)
    again = {path.relative_to(out) for path in out.rglob("*.npz") if path.stat().st_mtime_ns != before.get(path)}
    names = ("learned.npz", "matrix.npz", "test.npz", "train.npz")
    assert sorted(map(str, again)) == ["fold1/test.npz", *(f"fold4/{name}" for name in names)]


def test_a_networks_cost_is_measured_and_its_numbers_are_counted(scored):
    cost = json.loads((scored / "cost.json").read_text())
    assert cost["parameters"] == 128 * 100 + 100
    assert cost["cpu_seconds_per_segment"] > 0


def test_the_module_measures_alone_and_says_what_it_cannot_read(run, folder, tmp_path, monkeypatch, capsys):
    def call(*words):
        monkeypatch.setattr("sys.argv", ["scores", *map(str, words), "--data", str(folder), "--out", str(tmp_path)])
        return main()

    assert call(run, "--cost-only") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["cost.json"]
    assert call(tmp_path / "nothing") == 1
    assert "nothing" in capsys.readouterr().err
