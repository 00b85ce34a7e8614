"""Training data behind a URL, and shards with records that cannot be used."""

import json
from pathlib import Path

import fsspec
import pytest
import typer
from typer.testing import CliRunner

from segsearch.core.errors import BadRecord, NoFiles
from segsearch.core.example_pb2 import SequenceExample
from segsearch.core.records import count_records, read_records, write_records
from segsearch.training import cli
from segsearch.training.checkpoint import Checkpoint
from segsearch.training.errors import DownloadFailed
from segsearch.training.folder import DataFolder
from tests.file_server import serving_files
from tests.tiny_data import settings

QUICK = {
    "network.aggregation": {"kind": "frame_mean"},
    "stage1.batch_size": 16,
    "stage1.epochs": 1,
    "stage2.batch_size": 64,
    "stage2.epochs": 1,
}


@pytest.fixture
def folder(shared, tmp_path):
    """The tiny data folder with its vocabulary, of this test alone."""
    folder = tmp_path / "data"
    folder.mkdir()
    data = shared / "data"
    for file in [*(data / "tiny").glob("*.tfrecord"), data / "vocabulary.csv", data / "segment_label_ids.csv"]:
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture
def memory(folder):
    """The URL of the same folder in fsspec's memory."""
    system = fsspec.filesystem("memory")
    system.put(f"{folder}/", "/library/", recursive=True)
    yield "memory://library"
    system.rm("/library", recursive=True)


@pytest.fixture
def server(folder):
    """The URL of the same folder behind HTTP, and the requests that came."""
    with serving_files(folder) as served:
        yield served


def test_a_folder_in_object_storage_opens_like_a_local_one(folder, memory, tmp_path):
    remote, local = DataFolder.open(memory, cache=tmp_path / "cache"), DataFolder.open(folder)
    assert _contents(remote) == _contents(local)
    assert remote.segment_vocabulary.digest == local.segment_vocabulary.digest


def test_a_folder_behind_http_opens_like_a_local_one(folder, server, tmp_path):
    remote, local = DataFolder.open(server[0], cache=tmp_path / "cache"), DataFolder.open(folder)
    assert _contents(remote) == _contents(local)


def test_a_file_url_is_a_folder_too(folder, tmp_path):
    assert _contents(DataFolder.open(folder.as_uri(), cache=tmp_path / "cache")) == _contents(DataFolder.open(folder))


def test_a_remote_shard_is_fetched_once(server, tmp_path):
    url, asked = server
    DataFolder.open(url, cache=tmp_path / "cache")
    asked.clear()
    DataFolder.open(url, cache=tmp_path / "cache")
    assert [path for command, path in asked if command == "GET" and "tfrecord" in path] == []


def test_a_copy_that_was_cut_short_is_fetched_again(memory, tmp_path):
    copy = DataFolder.open(memory, cache=tmp_path / "cache").train[0]
    whole = copy.read_bytes()
    copy.write_bytes(whole[:100])
    DataFolder.open(memory, cache=tmp_path / "cache")
    assert copy.read_bytes() == whole


def test_a_url_without_shards_is_refused(memory, tmp_path):
    with pytest.raises(NoFiles, match="memory://library/nothing"):
        DataFolder.open(memory, train=f"{memory}/nothing*.tfrecord", cache=tmp_path / "cache")


@pytest.mark.parametrize("url", ["carrier-pigeon://coop/train*.tfrecord", "http://127.0.0.1:9/train*.tfrecord"])
def test_a_url_that_cannot_be_read_is_named(folder, tmp_path, url):
    with pytest.raises(DownloadFailed, match=url.partition("train")[0]):
        DataFolder.open(folder, train=url, cache=tmp_path / "cache")


def test_a_run_trains_from_a_url(memory, tmp_path):
    lines = _train("--data", memory, "--cache", tmp_path / "cache", "--out", tmp_path / "out")
    assert [line["stage"] for line in lines] == ["stage1", "final"]


def test_bad_records_are_skipped_by_choice_counted_and_kept_in_every_record_of_the_run(folder, tmp_path):
    _spoil(folder)
    out = tmp_path / "out"
    lines = _train("--data", folder, "--out", out, "--set", "input.on_error=skip")
    assert lines[0]["skipped_records"] == 2
    assert "train00.tfrecord, record 1, payload: wrong CRC32C" in lines[0]["skipped"][0]
    assert json.loads((out / "stage1" / "metrics.jsonl").read_text().splitlines()[0])["skipped_records"] == 2
    assert Checkpoint.load(out / "stage1").training["skipped_records"] == 2


def test_bad_records_stop_a_run_by_default(folder, tmp_path):
    _spoil(folder)
    with pytest.raises(BadRecord, match="record"):
        _train("--data", folder, "--out", tmp_path / "out")


def test_a_mended_shard_holds_every_good_record_in_order(folder, tmp_path):
    whole = list(read_records(folder / "train00.tfrecord"))
    _spoil(folder)
    mended = DataFolder.open(folder).without_bad_records(tmp_path / "mended")
    assert list(read_records(mended.train[0])) == whole[:1] + whole[2:]


@pytest.mark.parametrize("part", ["train", "rated"])
def test_a_video_without_labels_is_left_out_where_it_cannot_be_learnt_from(folder, tmp_path, part):
    shard = folder / {"train": "train00.tfrecord", "rated": "validate00.tfrecord"}[part]
    whole = list(read_records(shard))
    bare = SequenceExample.FromString(whole[1])
    del bare.context.feature["labels"]
    write_records(shard, [whole[0], bare.SerializeToString(), *whole[2:]])
    mended = DataFolder.open(folder).without_bad_records(tmp_path / "mended", rated_labelled=True)
    assert list(read_records(getattr(mended, part)[0])) == whole[:1] + whole[2:]
    assert [fault.partition(shard.name)[2] for fault in mended.skipped] == [
        ", record 1, labels: missing; wanted the video's label indices, to train on"
    ]


def test_a_rated_video_needs_no_labels_where_nothing_is_made_of_them(folder, tmp_path):
    bare = SequenceExample.FromString(next(iter(read_records(folder / "validate00.tfrecord"))))
    del bare.context.feature["labels"]
    write_records(folder / "validate00.tfrecord", [bare.SerializeToString()])
    data = DataFolder.open(folder)
    assert data.without_bad_records(tmp_path / "mended") == data


def test_shards_of_one_name_in_two_folders_are_mended_apart(folder, tmp_path):
    _spoil(folder)
    places = {"train": folder / "train00.tfrecord", "rated": folder / "validate00.tfrecord"}
    for part, shard in places.items():
        (tmp_path / part).mkdir()
        shard.rename(tmp_path / part / "0000.tfrecord")
    found = DataFolder.open(folder, **{part: str(tmp_path / part / "0000.tfrecord") for part in places})
    mended = found.without_bad_records(tmp_path / "mended")
    assert len(mended.skipped) == 2
    for part in places:
        (shard,), (copy,) = getattr(found, part), getattr(mended, part)
        good = [payload for payload in read_records(shard) if isinstance(payload, bytes) and b"sound" not in payload]
        assert list(read_records(copy)) == good


def test_a_shard_that_breaks_off_is_used_up_to_there(folder, tmp_path):
    shard = folder / "train00.tfrecord"
    records = count_records(shard)
    shard.write_bytes(shard.read_bytes()[:-5])
    mended = DataFolder.open(folder).without_bad_records(tmp_path / "mended")
    assert count_records(mended.train[0]) == records - 1
    assert len(mended.skipped) == 1


def test_whole_shards_are_read_where_they_lie(folder, tmp_path):
    data = DataFolder.open(folder)
    assert data.without_bad_records(tmp_path / "mended") == data


def test_what_was_found_in_a_shard_is_remembered(folder, tmp_path):
    _spoil(folder)
    data = DataFolder.open(folder)
    first = data.without_bad_records(tmp_path / "mended")
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "mended").iterdir()}
    assert data.without_bad_records(tmp_path / "mended") == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "mended").iterdir()} == written


def _spoil(folder: Path) -> None:
    """A wrong checksum in the middle of a training shard, and a rated record of another stream."""
    first, second, *rest = read_records(folder / "train00.tfrecord")
    write_records(folder / "train00.tfrecord", [first, second, *rest])
    content = bytearray((folder / "train00.tfrecord").read_bytes())
    content[12 + len(first) + 4 + 12 + 50] ^= 1
    (folder / "train00.tfrecord").write_bytes(content)
    rated = list(read_records(folder / "validate00.tfrecord"))
    write_records(folder / "validate00.tfrecord", [*rated[:-1], rated[-1].replace(b"audio", b"sound")])


def _contents(data: DataFolder) -> list[list[tuple[str, bytes]]]:
    return [[(file.name, file.read_bytes()) for file in files] for files in (data.train, data.rated)]


def _train(*arguments: object) -> list[dict]:
    app = typer.Typer()
    app.command()(cli.train)
    result = CliRunner().invoke(app, ["dbof_yt8m", *map(str, arguments), *settings(QUICK)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return [json.loads(line) for line in result.stdout.splitlines()]
