"""A data folder: what is amiss is named when it is opened, and each rated shard is held out once."""

import pytest

from segsearch.core.errors import ConfigError, DataError, NoFiles
from tests.tiny_data import tiny_data


def test_a_pattern_that_matches_nothing_is_refused(shared):
    with pytest.raises(NoFiles, match="nowhere"):
        tiny_data(shared, train="nowhere/*.tfrecord")


def test_segment_classes_outside_the_vocabulary_are_refused(shared, tmp_path):
    (tmp_path / "ids.csv").write_text("Index\n0\n70000\n")
    with pytest.raises(DataError, match="70000 is outside the vocabulary"):
        tiny_data(shared, segment_labels=tmp_path / "ids.csv")


def test_folds_need_as_many_shards(shared):
    with pytest.raises(ConfigError, match="5 rated shards or more"):
        tiny_data(shared, rated=str(shared / "data" / "tiny" / "validate00.tfrecord")).fold(0)


def test_each_rated_shard_is_held_out_once(shared):
    data = tiny_data(shared)
    held_out = [file for number in range(5) for file in data.fold(number)[1]]
    assert sorted(held_out) == list(data.rated)
    assert all(set(trained).isdisjoint(held) for trained, held in map(data.fold, range(5)))
