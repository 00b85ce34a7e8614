"""MAP@k: an index, its own submission and core's plain metric give one figure."""

import json

import pytest

from segsearch.core.errors import DataError
from segsearch.core.ranking import SegmentRatings, segment_map
from segsearch.core.records import write_records
from segsearch.core.videos import serialise_annotations
from segsearch.service.evaluation import evaluate_generation, evaluate_submission, read_ratings, report
from segsearch.service.submission import ranked_classes, read_submission, write_submission


@pytest.fixture
def ratings(shards) -> SegmentRatings:
    """The ratings of the thirty videos."""
    return read_ratings(shards)


@pytest.mark.parametrize("k", [1, 7, 1000])
def test_index_submission_and_plain_metric_agree(tmp_path, index, ratings, k):
    generation = index.open_current()
    write_submission(tmp_path / "out.csv", ranked_classes(generation))
    judged = evaluate_generation(generation, ratings, k)
    assert judged == evaluate_submission(read_submission(tmp_path / "out.csv"), ratings, k)
    plain = segment_map(ratings, dict(ranked_classes(generation)), k)
    assert (judged.map, judged.classes) == (pytest.approx(plain.mean), plain.classes)
    assert judged.found_pairs > 0


def test_records_without_frames_will_do(tmp_path, index, ratings, videos):
    write_records(tmp_path / "rated.tfrecord", [serialise_annotations(video) for video in videos])
    bare = read_ratings([tmp_path / "rated.tfrecord"])
    assert evaluate_generation(index.open_current(), bare) == evaluate_generation(index.open_current(), ratings)


def test_a_class_that_the_index_lacks_counts_zero_and_is_reported(index, ratings):
    without = evaluate_generation(index.open_current(), ratings)
    ratings.by_class[999] = {"v000:0": True}
    judged = evaluate_generation(index.open_current(), ratings)
    assert (judged.missing_classes, judged.classes[999]) == ([999], 0.0)
    assert judged.map == pytest.approx(without.map * len(without.classes) / (len(without.classes) + 1))


def test_the_mean_can_be_restricted_to_some_classes(index, ratings):
    judged = evaluate_generation(index.open_current(), ratings, labels=[13])
    assert (list(judged.classes), judged.unjudged_pairs) == ([13], 0)


def test_ratings_of_classes_outside_the_index_are_counted_and_told(tmp_path, index, ratings, shards, capsys):
    ratings.by_class[998] = {"v000:0": False, "v001:0": False}
    ratings.by_class[999] = {"v000:0": True}
    generation = index.open_current()
    write_submission(tmp_path / "out.csv", ranked_classes(generation))
    by_index = evaluate_generation(generation, ratings)
    assert by_index == evaluate_submission(read_submission(tmp_path / "out.csv"), ratings)
    report(by_index, shards[0], per_class=False)
    told = capsys.readouterr()
    assert json.loads(told.out)["unjudged_pairs"] == 3
    assert "3 rated pairs are of classes that are not ranked here" in told.err


def test_ratings_of_videos_elsewhere_are_positives_that_were_missed(index):
    elsewhere = SegmentRatings([("nobody:0", 3, 1.0), ("v000:0", 3, 1.0)])
    at_home = SegmentRatings([("v000:0", 3, 1.0)])
    generation = index.open_current()
    assert evaluate_generation(generation, elsewhere).map == evaluate_generation(generation, at_home).map / 2


def test_nothing_to_judge_is_an_error(index, shards):
    found = evaluate_generation(index.open_current(), SegmentRatings([("v000:0", 3, 0.0)]))
    with pytest.raises(DataError, match="no class with a positive rating"):
        report(found, shards[0], per_class=False)
