"""The download protocol as Google's script has it: addresses, the choice of a shard's files, names on disk, plans."""

import itertools
import json
import string

import pytest

from segsearch.core.errors import ConfigError
from segsearch.training.download.youtube8m import Record, Shard, Source, local_name, plan_of
from segsearch.training.errors import DownloadFailed

DIGITS = string.ascii_letters + string.digits
MD5 = "0123456789abcdef" * 2


def names(split):
    """All 3844 files of a split, in the order of their numbers."""
    return [f"{split}{first}{second}.tfrecord" for first, second in itertools.product(DIGITS, repeat=2)]


def test_addresses_are_those_of_googles_script():
    source = Source(part="2/frame/train", mirror="eu")
    assert source.plan_url == "http://data.yt8m.org/2/download_plans/frame_train.json"
    assert source.url("trainaB.tfrecord") == "http://eu.data.yt8m.org/2/frame/train/trainaB.tfrecord"


def test_another_server_has_plans_and_files_at_the_same_paths():
    source = Source(part="3/frame/validate", base_url="https://host:8443/mirror/")
    assert source.plan_url == "https://host:8443/mirror/3/download_plans/frame_validate.json"
    assert source.url("validateaB.tfrecord") == "https://host:8443/mirror/3/frame/validate/validateaB.tfrecord"


@pytest.mark.parametrize(("split", "file_count"), [("train", 5), ("validate", 5), ("test", 4)])
def test_a_thousandth_has_as_many_files_as_googles_script_fetches(split, file_count):
    # Counts that the readme of github.com/jasonjiajs/videos-you-love-to-take reports for shard=1,1000.
    assert sum(Shard(1, 1000).holds(name) for name in names(split)) == file_count


def test_a_hundredth_of_train_holds_the_files_that_googles_script_left_on_disk():
    # thigm85.github.io/blog, "YouTube 8M video-level": shard=1,100 of 2/video/train left these two among others.
    left = {local_name(name) for name in names("train") if Shard(1, 100).holds(name)}
    assert {"train0093.tfrecord", "train3749.tfrecord"} <= left


def test_every_file_is_in_exactly_one_of_the_shards():
    shards = [Shard(index, 7) for index in range(1, 8)]
    assert all(sum(shard.holds(name) for shard in shards) == 1 for name in names("test"))


def test_files_are_numbered_on_disk_without_gaps():
    assert [local_name(name) for name in names("train")] == [f"train{number:04}.tfrecord" for number in range(3844)]


@pytest.mark.parametrize("text", ["0,100", "101,100", "1", "1,", "a,b", "1,2,3", "-1,2", "1,0", "", "٣,٤"])
def test_a_shard_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="--shard"):
        Shard.parse(text)


@pytest.mark.parametrize(
    ("settings", "option"),
    [
        ({"part": "2/frame"}, "--part"),
        ({"part": "2/frame/../train"}, "--part"),
        ({"part": "2/frames/train"}, "--part"),
        ({"mirror": "moon"}, "--mirror"),
        ({"base_url": "file:///etc"}, "--base-url"),
        ({"base_url": "data.yt8m.org"}, "--base-url"),
        ({"base_url": "http://host/?file="}, "--base-url"),
    ],
)
def test_a_source_that_cannot_be_is_refused_by_option(settings, option):
    with pytest.raises(ConfigError) as caught:
        Source(**{"part": "2/frame/train", **settings})
    assert caught.value.field == option


@pytest.mark.parametrize(
    "content",
    [
        b"<html>Please log in</html>",
        b"\xff",
        b"[]",
        b"{}",
        b'{"files": ["trainaa.tfrecord"]}',
        json.dumps({"files": {"../../trainaa.tfrecord": MD5}}).encode(),
        json.dumps({"files": {"trainaa.tfrecord": MD5[1:]}}).encode(),
        json.dumps({"files": {"trainaa.tfrecord": None}}).encode(),
    ],
)
def test_what_is_no_plan_is_refused(content):
    with pytest.raises(DownloadFailed, match="wanted a"):
        plan_of("http://host/plan.json", content)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train0000.tfrecord").write_bytes(b"what was checked")
    return tmp_path


CHECKED = "a8d1f1c8e0e3c4ae8e5ba8a7b2cb3a3f"  # not the file's md5: only the record can vouch for it


def test_a_recorded_file_is_not_read_again(folder):
    Record.open(folder, Source(part="2/frame/train")).add("train0000.tfrecord", CHECKED)
    assert Record.open(folder, Source(part="2/frame/train")).whole("train0000.tfrecord", CHECKED)


def test_a_recorded_file_that_was_written_since_is_read_again(folder):
    Record.open(folder, Source(part="2/frame/train")).add("train0000.tfrecord", CHECKED)
    (folder / "train0000.tfrecord").write_bytes(b"what came after")
    assert not Record.open(folder, Source(part="2/frame/train")).whole("train0000.tfrecord", CHECKED)


def test_a_record_line_cut_short_by_a_kill_costs_that_line_only(folder):
    (folder / "train0001.tfrecord").write_bytes(b"another")
    record = Record.open(folder, Source(part="2/frame/train"))
    record.add("train0000.tfrecord", CHECKED)
    record.add("train0001.tfrecord", CHECKED)
    path = folder / ".yt8m.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    again = Record.open(folder, Source(part="2/frame/train"))
    assert [again.whole(f"train000{number}.tfrecord", CHECKED) for number in (0, 1)] == [True, False]


def test_a_folder_takes_other_splits_but_not_the_same_split_of_another_release(folder):
    Record.open(folder, Source(part="2/frame/train")).add("train0000.tfrecord", CHECKED)
    Record.open(folder, Source(part="3/frame/validate"))
    with pytest.raises(ConfigError, match="2/frame/train"):
        Record.open(folder, Source(part="3/frame/train"))
