"""The sample folder: what its files hold, that they are always the same, and that it appears whole or not at all."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from segsearch.core.errors import ConfigError
from segsearch.core.features import YOUTUBE8M
from segsearch.core.sample.folder import Parameters, Sample, held_sample, shards_of, video_id, write_sample
from segsearch.core.videos import read_annotations, read_videos, streams_of
from segsearch.core.vocabulary import Vocabulary, read_segment_labels

SMALL = Parameters(videos=20, seed=3, classes=12)


def nothing():
    pass


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def videos_of(folder, split):
    return list(read_videos(sorted(folder.glob(f"{split}*.tfrecord")), YOUTUBE8M))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("sample") / "small"
    write_sample(out, SMALL, nothing)
    return out


def test_the_same_seed_gives_the_same_bytes(folder, tmp_path):
    write_sample(tmp_path / "again", SMALL, nothing)
    assert contents(tmp_path / "again") == contents(folder)


def test_another_seed_gives_other_videos(folder, tmp_path):
    write_sample(tmp_path / "other", Parameters(videos=20, seed=4, classes=12), nothing)
    assert not np.array_equal(videos_of(folder, "train")[0].frames, videos_of(tmp_path / "other", "train")[0].frames)


def test_the_streams_are_those_of_youtube8m(folder):
    assert streams_of(folder / "train00.tfrecord") == YOUTUBE8M


def test_the_splits_hold_every_video_once(folder):
    ids = {split: [video.id for video in videos_of(folder, split)] for split in ("train", "validate", "test")}
    assert {split: len(part) for split, part in ids.items()} == {"train": 11, "validate": 5, "test": 4}
    assert len({one for part in ids.values() for one in part}) == 20


def test_train_shows_labels_and_no_ratings(folder):
    assert all(len(video.labels) and not len(video.ratings) for video in videos_of(folder, "train"))


def test_validate_has_a_shard_for_each_of_five_folds(folder):
    assert len(list(folder.glob("validate*.tfrecord"))) == 5


def test_validate_has_labels_and_rated_segments(folder):
    videos = videos_of(folder, "validate")
    assert all(len(video.labels) for video in videos)
    assert np.mean([len(video.ratings) for video in videos]) >= 5


def test_test_videos_show_neither_labels_nor_ratings(folder):
    assert all(video.labels is None and not len(video.ratings) for video in videos_of(folder, "test"))


def test_the_truth_names_exactly_the_test_videos(folder):
    truth = list(read_annotations([folder / "truth00.tfrecord"]))
    assert {one.id for one in truth} == {video.id for video in videos_of(folder, "test")}
    assert sum(len(one.ratings) for one in truth) > 0


def test_planning_a_video_tells_the_same_as_rendering_it():
    sample = Sample(SMALL)
    planned, rendered = sample.annotations(17), sample.video(17)
    assert planned.id == rendered.id
    assert planned.labels.tolist() == rendered.labels.tolist()
    assert planned.ratings.starts.tolist() == rendered.ratings.starts.tolist()


def test_labels_and_ratings_stay_within_the_vocabulary(folder):
    vocabulary = Vocabulary.read(folder / "vocabulary.csv")
    files = sorted([*folder.glob("train*.tfrecord"), *folder.glob("validate*.tfrecord")])
    assert len(list(read_videos(files, YOUTUBE8M, vocabulary=vocabulary))) == 16


def test_only_segment_classes_are_rated(folder):
    rated = [one.ratings.labels for one in read_annotations(sorted(folder.glob("[vt]*.tfrecord")))]
    assert set(np.concatenate(rated).tolist()) <= set(read_segment_labels(folder / "segment_label_ids.csv"))


def test_the_segment_classes_are_a_part_of_the_vocabulary(folder):
    vocabulary = Vocabulary.read(folder / "vocabulary.csv")
    rated = read_segment_labels(folder / "segment_label_ids.csv")
    assert len(rated) < len(vocabulary) == 12
    assert all(label in vocabulary for label in rated)


def test_the_note_lists_every_other_file_with_its_size(folder):
    note = json.loads((folder / "sample.json").read_text())
    assert note["files"] == {n: len(data) for n, data in contents(folder).items() if n != "sample.json"}


def test_the_counts_are_those_of_the_files(folder):
    held = held_sample(folder, SMALL)
    ratings = [video.ratings for video in videos_of(folder, "validate")]
    assert held.rated == sum(len(one) for one in ratings)
    assert held.positive == sum(int(one.scores.sum()) for one in ratings)


def test_video_ids_have_four_letters_or_digits_and_differ():
    ids = [video_id(ordinal) for ordinal in range(20_000)]
    assert len(set(ids)) == len(ids)
    assert all(len(one) == 4 and one.isalnum() for one in ids)


@pytest.mark.parametrize("other", [Parameters(20, 4, 12), Parameters(21, 3, 12), Parameters(20, 3, 9)])
def test_a_sample_of_other_parameters_is_not_overwritten(folder, other):
    before = contents(folder)
    with pytest.raises(ConfigError, match="OUT"):
        held_sample(folder, other)
    assert contents(folder) == before


def test_a_folder_of_anything_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="new or empty directory"):
        held_sample(tmp_path, SMALL)


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "out").write_text("years of work")
    with pytest.raises(ConfigError, match="new or empty directory"):
        held_sample(tmp_path / "out", SMALL)


def test_a_sample_with_a_shortened_shard_is_refused_by_name(tmp_path):
    write_sample(tmp_path / "out", SMALL, nothing)
    shard = tmp_path / "out" / "train02.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(ConfigError, match=r"train02\.tfrecord is missing or changed"):
        held_sample(tmp_path / "out", SMALL)


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "out").mkdir()
    assert held_sample(tmp_path / "out", SMALL) is None
    write_sample(tmp_path / "out", SMALL, nothing)
    assert held_sample(tmp_path / "out", SMALL) is not None


def test_a_writer_does_not_replace_a_folder_that_someone_filled_meanwhile(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(OSError, match="not empty"):
        write_sample(tmp_path / "out", SMALL, nothing)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "thesis.txt"]


def test_a_run_that_fails_half_way_leaves_nothing(tmp_path):
    steps = list(range(12))
    with pytest.raises(IndexError):
        write_sample(tmp_path / "out", SMALL, lambda: steps.pop() and None)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_leaves_no_folder_that_looks_whole_and_the_next_run_succeeds(tmp_path):
    out = tmp_path / "out"
    program = (
        "import sys, pathlib; from segsearch.core.sample.folder import *;"
        "write_sample(pathlib.Path(sys.argv[1]), Parameters(100_000, 3, 12), lambda: None)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(out)]) as process:
        deadline = time.monotonic() + 30
        while not list(tmp_path.glob(".out.building-*/.train00*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not out.exists()
    write_sample(out, SMALL, nothing)
    assert held_sample(out, SMALL) is not None


@pytest.mark.parametrize(("field", "value"), [("videos", 9), ("videos", 62**4 + 1), ("seed", -1), ("classes", 2)])
def test_parameters_that_cannot_work_are_refused_by_name(field, value):
    with pytest.raises(ConfigError, match=field):
        Parameters(**{field: value})


def test_a_large_split_is_cut_into_more_shards_whose_names_sort_as_their_numbers():
    names = [name for name, _ in shards_of("train", range(60_000))]
    assert len(names) == 120
    assert names == sorted(names)
