"""Ensembles of made-up models on real ratings: which members count, who judges them, and what is refused."""

import dataclasses
import functools
import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from segsearch.core.errors import ConfigError
from segsearch.core.score_codes import decode, encode_logits, encode_probabilities
from segsearch.training.ensemble.blend import Blending, write_folds, write_lessons, write_others
from segsearch.training.ensemble.cli import Found, Way, ensemble
from segsearch.training.ensemble.members import Members
from segsearch.training.ensemble.votes import WAYS
from segsearch.training.ensemble.weights import FINDERS, Ballot, equal, greedy, nested, searched
from segsearch.training.errors import MatrixRefused
from segsearch.training.folder import FOLDS, DataFolder
from segsearch.training.rated_map import rated_map
from segsearch.training.score_matrix import ScoreMatrix, VideoScores, check_folds, write_score_matrix
from tests.made_up_models import tiny_folder, write_model


def blending(data, way="logit"):
    return Blending(way=way, vocabulary=data.segment_vocabulary)


@pytest.fixture(scope="module")
def data(shared):
    tables = shared / "data"
    return DataFolder.open(
        tables / "tiny", vocabulary=tables / "vocabulary.csv", segment_labels=tables / "segment_label_ids.csv"
    )


@pytest.fixture(scope="module")
def make(data, tmp_path_factory):
    """Writes a model's folder."""
    root = tmp_path_factory.mktemp("runs")

    return functools.partial(write_model, root, data)


@pytest.fixture(scope="module")
def runs(make):
    """Two models that know as much, each another part of it, and one that knows nothing."""
    return [make("one", 1, 1.0), make("two", 2, 1.0), make("noise", 3, 0.0)]


@pytest.fixture(scope="module")
def members(runs, data):
    return Members.open(runs, data)


@pytest.fixture(scope="module")
def ballot(members):
    return Ballot.of(members, "probability", range(FOLDS))


def alone(ballot, member):
    return ballot.rated_map(np.eye(len(ballot.votes))[member])


def test_a_member_alone_ranks_as_its_own_matrices(members, ballot):
    codes = [
        matrix.codes[matrix.rows_of(rated.ids)]
        for matrix, rated in zip(members.members[0].folds, members.rated, strict=True)
    ]
    assert alone(ballot, 0) == pytest.approx(rated_map(np.concatenate(codes), members.together), abs=1e-12)


def test_two_models_that_err_apart_are_better_together(ballot):
    assert ballot.rated_map(np.array([0.5, 0.5, 0])) > max(alone(ballot, 0), alone(ballot, 1)) + 0.02


@pytest.mark.parametrize("find", [greedy, searched])
def test_weights_that_were_searched_are_no_worse_than_equal_ones_or_the_best_member_where_they_were_found(find, ballot):
    weights = find(ballot)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    assert weights[2] < min(weights[:2])
    assert ballot.rated_map(weights) >= max(alone(ballot, 0), alone(ballot, 1))
    if find is searched:
        assert ballot.rated_map(weights) >= ballot.rated_map(equal(ballot))


def test_a_folds_ratings_have_no_say_in_its_own_weights(members, ballot):
    first_fold = np.arange(len(ballot.rated.rows)) < len(members.rated[0].rows)
    scores = np.where(first_fold, 1 - ballot.rated.scores, ballot.rated.scores)
    lied = dataclasses.replace(members.rated[0], scores=1 - members.rated[0].scores)
    misled = dataclasses.replace(members, rated=(lied, *members.rated[1:]))
    other = Ballot(ballot.way, ballot.votes, dataclasses.replace(ballot.rated, scores=scores))
    before, after = nested(members, ballot, greedy), nested(misled, other, greedy)
    assert before.weights[0] == after.weights[0]
    assert before.weights[1:] != after.weights[1:]
    assert before.folds[0] != after.folds[0]


@pytest.mark.parametrize("way", ["probability", "geometric", "logit", "rank"])
def test_an_ensembles_matrices_are_the_weighted_means_of_its_members(way, members, data, tmp_path):
    weights = [(0.2, 0.5, 0.3)] * FOLDS
    write_folds(members, blending(data, way), weights, tmp_path)
    for fold in range(FOLDS):
        parts = [member.folds[fold].codes for member in members.members]
        written = ScoreMatrix.open(tmp_path / f"fold{fold}" / "matrix.npz")
        expected = plain_blend(way, parts, weights[fold])
        assert np.abs(written.codes.astype(int) - expected.astype(int)).max() <= 1
        assert written.table_digest == members.members[0].folds[fold].table_digest


def plain_blend(way, parts, weights):
    """The same without tables, a whole matrix at a time."""

    def vote(codes):
        p = decode(codes).astype(np.float64)
        match way:
            case "probability":
                return p
            case "geometric":
                return np.log(p)
            case "logit":
                return np.log(p) - np.log1p(-p)
        below = (codes[None] < codes[:, None]).sum(axis=1)
        return (below + 0.5 * (codes[None] == codes[:, None]).sum(axis=1)) / len(codes)

    mean = sum(weight * vote(codes) for weight, codes in zip(weights, parts, strict=True))
    if way == "logit":
        return encode_logits(mean)
    return encode_probabilities(np.minimum(np.exp(mean) if way == "geometric" else mean, 1))


def test_an_ensembles_matrices_are_held_out_scores_like_any_models(members, data, tmp_path):
    write_folds(members, blending(data), [(0.5, 0.5, 0.0)] * FOLDS, tmp_path)
    check_folds([ScoreMatrix.open(tmp_path / f"fold{fold}" / "matrix.npz") for fold in range(FOLDS)])


def test_other_shards_are_averaged_over_folds_and_members(make, shared, data, tmp_path):
    test = [shared / "data" / "tiny" / "test00.tfrecord"]
    folders = [make(name, seed, 1.0) for name, seed in (("three", 4), ("four", 5))]
    for folder, seed in zip(folders, (6, 7), strict=True):
        make(folder.name, seed, 0.0, shards=test)
    members = Members.open(folders, data)
    path = write_others(members, "test", blending(data, "probability"), [0.75, 0.25], tmp_path)
    means = [np.mean([decode(matrix.codes) for matrix in member.others("test")], axis=0) for member in members.members]
    expected = encode_probabilities(0.75 * means[0] + 0.25 * means[1])
    matrix = ScoreMatrix.open(path)
    assert np.abs(matrix.codes.astype(int) - expected.astype(int)).max() <= 1
    assert matrix.about.fold is None
    assert matrix.about.held_out


def lesson_of(make, data, name, of, **changes):
    """A run with `learned.npz` in each fold, of the shards that fold `of` learns from; changes: of what they say."""
    learned, _ = data.fold(of)
    folder = make(name, 8, 1.0)
    made = make(f"{name}_lesson", 9, 0.0, shards=learned, **changes)
    for number in range(FOLDS):
        (made / f"fold{number}" / "test.npz").replace(folder / f"fold{number}" / "learned.npz")
    return Members.open([folder], data).members[0]


def test_a_fold_teaches_by_its_own_networks_and_the_weights_that_never_saw_it(make, shared, data, tmp_path):
    test = [shared / "data" / "tiny" / "test00.tfrecord"]
    folders = [make(name, seed, 1.0) for name, seed in (("five", 4), ("six", 5))]
    for folder, seed in zip(folders, (6, 7), strict=True):
        make(folder.name, seed, 0.0, shards=test)
    members = Members.open(folders, data)
    weights = [(fold / 4, 1 - fold / 4) for fold in range(FOLDS)]
    write_lessons(members, "test", blending(data, "probability"), weights, tmp_path)
    for fold, (one, two) in enumerate(weights):
        first, second = (decode(member.others("test")[fold].codes).astype(np.float64) for member in members.members)
        written = ScoreMatrix.open(tmp_path / f"fold{fold}" / "test.npz")
        expected = encode_probabilities(one * first + two * second)
        assert np.abs(written.codes.astype(int) - expected.astype(int)).max() <= 1
        assert written.about.fold == fold


def test_a_lesson_on_shards_that_its_network_learned_from_is_taken(make, data):
    lesson = lesson_of(make, data, "honest", 2).lesson("learned", 2)
    assert set(lesson.about.shards) == set(lesson.about.trained_on)


@pytest.mark.parametrize(
    ("fold", "changes", "reason"),
    [
        (2, {"trained_on": ("validate02.tfrecord",)}, "learned from validate02.tfrecord; wanted nothing of fold 2"),
        (1, {}, "scores of validate01.tfrecord; wanted nothing of fold 1"),
        (2, {"fold": 3}, "fold 3; wanted fold 2"),
    ],
)
def test_a_lesson_that_leaks_is_refused_by_name(fold, changes, reason, make, data):
    member = lesson_of(make, data, f"leaking_{fold}_{len(changes)}_{next(iter(changes), '')}", 2, **changes)
    with pytest.raises(MatrixRefused, match=reason):
        member.lesson("learned", fold)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"vocabulary_digest": "0" * 64}, "vocabulary_digest"),
        ({"feature_space": "youtube8m/rgb1024/-2..2"}, "feature_space"),
        ({"trained_on": ("validate00.tfrecord", "validate03.tfrecord")}, "learned from"),
        ({"fold": 2}, "fold 2; wanted fold 0"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_by_name(changes, reason, runs, make, data):
    other = make(f"other_{next(iter(changes))}", 9, 1.0, **changes)
    with pytest.raises(MatrixRefused, match=reason) as caught:
        Members.open([runs[0], other], data)
    assert other in caught.value.path.parents


def test_a_model_of_other_segments_is_refused_by_name(runs, make, data):
    other = make("short", 9, 1.0)
    path = other / "fold3" / "matrix.npz"
    matrix = ScoreMatrix.open(path)
    last = VideoScores(str(matrix.video_ids[0]), matrix.segment_starts[:1].astype(np.int64), matrix.codes[:1].copy())
    write_score_matrix(path, matrix.about, data.segment_vocabulary, [last])
    with pytest.raises(MatrixRefused, match="another segment table") as caught:
        Members.open([runs[0], other], data)
    assert caught.value.path == path


def test_two_members_of_one_name_are_refused(runs, data):
    with pytest.raises(ConfigError, match="two folders named one"):
        Members.open([runs[0], runs[0]], data)


def test_the_command_offers_every_way_there_is():
    assert tuple(Way) == WAYS
    assert tuple(Found) == tuple(FINDERS)


@pytest.mark.parametrize("weights", FINDERS)
def test_the_command_reports_what_it_found_and_leaves_the_matrices(weights, runs, shared, data, tmp_path):
    folder = tiny_folder(shared, tmp_path / "data")
    app = typer.Typer()
    app.command()(ensemble)
    arguments = [*map(str, runs), "--data", str(folder), "--out", str(tmp_path / "out"), "--weights", weights]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    told = json.loads(result.stdout)
    assert told == json.loads((tmp_path / "out" / "ensemble.json").read_text())
    assert set(told["weights"]) == {"one", "two", "noise"}
    matrices = [ScoreMatrix.open(tmp_path / "out" / f"fold{fold}" / "matrix.npz") for fold in range(FOLDS)]
    rated = Members.open(runs, data).rated
    for matrix, part, value in zip(matrices, rated, told["fold_rated_map_at_100k"], strict=True):
        assert rated_map(matrix.codes[matrix.rows_of(part.ids)], part) == pytest.approx(value, abs=1e-9)


def test_the_commands_figures_are_those_of_the_matrices_that_rules_have_moved(runs, shared, tmp_path):
    folder = tiny_folder(shared, tmp_path / "data")
    app = typer.Typer()
    app.command()(ensemble)
    told = {}
    for name, rule in (("plain", []), ("skipping", ["--skip-first-s", "1000"])):
        arguments = [*map(str, runs), "--data", str(folder), "--out", str(tmp_path / name), "--weights", "equal", *rule]
        told[name] = json.loads(CliRunner().invoke(app, arguments, catch_exceptions=False).stdout)
    assert told["skipping"]["weights"] == told["plain"]["weights"]
    assert told["skipping"]["pooled_rated_map_at_100k"] < told["plain"]["pooled_rated_map_at_100k"] - 0.02
    assert (ScoreMatrix.open(tmp_path / "skipping" / "fold0" / "matrix.npz").codes == 0).all()
