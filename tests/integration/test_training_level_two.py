"""Level two on made-up models and real ratings: it learns what an average cannot, from other folds only."""

import dataclasses
import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from segsearch.core.score_codes import LOGITS
from segsearch.training.ensemble.blend import Blending, write_folds, write_others
from segsearch.training.ensemble.members import Members
from segsearch.training.errors import MatrixRefused
from segsearch.training.folder import FOLDS, DataFolder
from segsearch.training.level_two.cli import level_two
from segsearch.training.level_two.features import feature_names
from segsearch.training.level_two.levels import LevelTwo, OrderConfig
from segsearch.training.level_two.ranker import Ranker, RankerConfig, Rows, mean_precision
from segsearch.training.rated_map import rated_map
from segsearch.training.score_matrix import ScoreMatrix
from tests.made_up_models import tiny_folder, write_model

QUICK = RankerConfig(rounds=20, patience=20, least_rows=3, leaves=4)


def blending(data, way="logit"):
    return Blending(way=way, vocabulary=data.segment_vocabulary)


@pytest.fixture(scope="module")
def folder(shared, tmp_path_factory):
    return tiny_folder(shared, tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="module")
def data(folder):
    return DataFolder.open(folder)


@pytest.fixture(scope="module")
def members(data, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    models = [write_model(root, data, name, seed, 0.3) for name, seed in (("one", 1), ("two", 2))]
    # The third knows the ratings and says the opposite: in an average it can do nothing but harm.
    return Members.open([*models, write_model(root, data, "contrary", 3, -3.0)], data)


@pytest.fixture(scope="module")
def ensemble(members, data, tmp_path_factory):
    """The folder of an ensemble of the two that mean what they say."""
    out = tmp_path_factory.mktemp("ensemble")
    write_folds(members, blending(data), [(0.5, 0.5, 0.0)] * FOLDS, out)
    return out


@pytest.fixture(scope="module")
def levels(members, ensemble):
    return LevelTwo.open(members, ensemble, QUICK, OrderConfig(weight=1.0))


@pytest.fixture(scope="module")
def written(levels, data, tmp_path_factory):
    """Level two's folder, and what it told."""
    out = tmp_path_factory.mktemp("level_two")
    return out, levels.write_folds(data.segment_vocabulary, out)


def matrices(folder):
    return [ScoreMatrix.open(folder / f"fold{fold}" / "matrix.npz") for fold in range(FOLDS)]


def test_a_model_that_says_the_opposite_is_made_use_of(written, ensemble, members):
    _, told = written
    parts = zip(matrices(ensemble), members.rated, strict=True)
    average = np.mean([rated_map(matrix.codes[matrix.rows_of(rated.ids)], rated) for matrix, rated in parts])
    assert told["mean_rated_map_at_100k"] > average + 0.05
    assert "model:contrary" in list(told["importance"])[:3]
    assert sum(told["importance"].values()) == pytest.approx(1)
    assert told["cpu_seconds_per_segment"] > 0


def test_what_is_told_is_what_the_matrices_give(written, members):
    out, told = written
    for matrix, rated, value in zip(matrices(out), members.rated, told["fold_rated_map_at_100k"], strict=True):
        assert rated_map(matrix.codes[matrix.rows_of(rated.ids)], rated) == value


def test_a_class_keeps_the_codes_that_the_ensemble_gave_out(written, ensemble):
    for new, old in zip(matrices(written[0]), matrices(ensemble), strict=True):
        np.testing.assert_array_equal(np.sort(new.codes, axis=0), np.sort(old.codes, axis=0))
        assert (new.codes != old.codes).any()
        assert new.table_digest == old.table_digest
        assert new.about.run == "level_two"


def test_a_folds_ratings_have_no_say_in_its_own_order(levels, members):
    lied = dataclasses.replace(members.rated[0], scores=1 - members.rated[0].scores)
    misled = dataclasses.replace(members, rated=(lied, *members.rated[1:]))
    other = dataclasses.replace(levels, members=misled)
    others = range(1, FOLDS)
    rows = levels.reorder(levels.folds[0], *levels.learned_from(others))
    np.testing.assert_array_equal(rows, other.reorder(other.folds[0], *other.learned_from(others)))
    assert (levels.learned_from([0, 2, 3, 4])[1] != other.learned_from([0, 2, 3, 4])[1]).any()


def test_other_shards_are_ordered_by_all_folds_and_scored_as_all_networks_do(members, data, shared, tmp_path):
    test, root = [shared / "data" / "tiny" / "test00.tfrecord"], members.members[0].folder.parent
    for number, member in enumerate(members.members):
        write_model(root, data, member.name, 10 + number, 0.0, shards=test)
    write_folds(members, blending(data), [(0.5, 0.5, 0.0)] * FOLDS, tmp_path / "ensemble")
    write_others(members, "test", blending(data), [0.5, 0.5, 0.0], tmp_path / "ensemble")
    levels = LevelTwo.open(members, tmp_path / "ensemble", QUICK, OrderConfig())
    (tmp_path / "out").mkdir()
    ordered = ScoreMatrix.open(levels.write_others("test", data.segment_vocabulary, tmp_path / "out"))
    before = ScoreMatrix.open(tmp_path / "ensemble" / "test.npz")
    np.testing.assert_array_equal(np.sort(ordered.codes, axis=0), np.sort(before.codes, axis=0))
    assert ordered.about.held_out


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"feature_space": "youtube8m/rgb1024/-2..2"}, "feature_space"),
        ({"vocabulary_digest": "0" * 64}, "vocabulary_digest"),
        ({"trained_on": ("validate00.tfrecord", "validate03.tfrecord")}, "learned from validate00.tfrecord"),
    ],
)
def test_an_ensemble_that_leaks_or_is_of_other_videos_is_refused_by_name(changes, reason, members, data, tmp_path):
    other = write_model(tmp_path, data, "ensemble", 7, 1.0, **changes)
    with pytest.raises(MatrixRefused, match=reason):
        LevelTwo.open(members, other, QUICK, OrderConfig())


@pytest.mark.parametrize("objective", ["binary", "lambdarank"])
def test_trees_learn_what_no_weighted_mean_can(objective):
    random = np.random.default_rng(0)

    def fold():
        features = random.normal(size=(400, 2)).astype(np.float32)
        labels = (features[:, 0] * features[:, 1] > 0).astype(np.int64)  # high where both are high or both low
        return Rows(features, labels, np.repeat(np.arange(8), 50))

    folds, unseen = [fold() for _ in range(4)], fold()
    ranker = Ranker.learn(folds, RankerConfig(objective=objective, rounds=60, feature_share=1.0))
    means = [mean_precision(unseen.features @ np.array(weights), unseen) for weights in ((1, 0), (0, 1), (1, 1))]
    assert mean_precision(ranker.scores(unseen.features), unseen) > max(means) + 0.2


def test_trees_that_learn_nothing_stop_early_and_the_rounds_behind_the_best_are_not_asked():
    random = np.random.default_rng(1)
    folds = [
        Rows(random.normal(size=(200, 3)).astype(np.float32), random.integers(0, 2, 200), np.repeat(np.arange(4), 50))
        for _ in range(3)
    ]
    config = RankerConfig(rounds=200, patience=5)
    ranker = Ranker.learn(folds, config)
    for booster in ranker.boosters:
        assert booster.current_iteration() <= booster.best_iteration + config.patience < config.rounds
    best = [booster.predict(folds[0].features, num_iteration=booster.best_iteration, raw_score=True)
            for booster in ranker.boosters]  # fmt: skip
    np.testing.assert_allclose(ranker.scores(folds[0].features), np.mean(best, axis=0))


def test_the_same_seed_learns_the_same_trees(levels):
    first, second = (levels.learned_from([0, 1, 2])[0] for _ in range(2))
    assert [booster.model_to_string() for booster in first.boosters] == [
        booster.model_to_string() for booster in second.boosters
    ]


def test_a_models_networks_count_by_their_mean_logit(levels, members):
    scored = levels.folds[2]
    codes = members.members[1].folds[2].codes[:, 5]
    np.testing.assert_array_equal(scored.model_logits(5)[1], LOGITS[codes])
    assert len(feature_names(members.names)) == levels.learned_from([0, 1])[0].importance().shape[0]


def test_the_command_writes_what_it_tells(members, ensemble, folder, tmp_path):
    app = typer.Typer()
    app.command()(level_two)
    runs = [str(member.folder) for member in members.members]
    arguments = [str(ensemble), *runs, "--data", str(folder), "--out", str(tmp_path / "out"), "--candidates", "10"]
    arguments += ["--importance", str(tmp_path / "importance.md")]
    told = json.loads(CliRunner().invoke(app, arguments, catch_exceptions=False).stdout)
    assert told == json.loads((tmp_path / "out" / "level_two.json").read_text())
    assert len(matrices(tmp_path / "out")) == FOLDS
    name, share = next(iter(told["importance"].items()))
    assert (tmp_path / "importance.md").read_text().splitlines()[2] == f"| {name} | {share:.3f} |"
    assert all(f">{name}<" in (tmp_path / "importance.svg").read_text() for name in told["importance"])
