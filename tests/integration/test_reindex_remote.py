"""Shards behind a URL: the generation is the one that the same files make here, to the bit."""

import json
import os
import sys

import fsspec
import pytest

from segsearch.core.errors import BadRecord, DataError, MissingExtra, NoFiles
from segsearch.core.records import write_records
from segsearch.core.segments import segment_count
from segsearch.core.videos import serialise_video
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.jobs.library_shards import LibraryShards, Reading, matching_shards
from segsearch.service.jobs.local_processes import LocalProcesses
from segsearch.service.jobs.reindex import reindex
from segsearch.service.jobs.workers import WorkerScorer
from tests.file_server import serving_files
from tests.library_fixtures import make_videos, write_shards
from tests.tiny_model import SPEC


@pytest.fixture
def index(tmp_path):
    """Nothing is published yet."""
    return IndexDirectory(tmp_path / "index")


def files_of(index):
    return index.open_current().manifest.files


def fetched(asked):
    """The shards that were asked for, in order of name."""
    return sorted(path for method, path in asked if method == "GET" and path.endswith(".tfrecord"))


def test_shards_behind_http_make_the_same_generation_and_each_is_fetched_as_it_is_scored(
    index, scorer, many_shards, alone
):
    with serving_files(many_shards[0].parent) as (url, asked):
        reindex(scorer, matching_shards([f"{url}/*.tfrecord"]), index, keep=9, scores=True)
    assert files_of(index) == alone
    names = [f"/{shard.name}" for shard in many_shards]
    assert fetched(asked) == sorted([names[0], *names])  # the first one also says which streams there are


def test_processes_fetch_what_they_score(index, scorer, many_shards, alone):
    engine = LocalProcesses(WorkerScorer.like(scorer, "auto", threads=1), 2)
    with serving_files(many_shards[0].parent) as (url, _):
        listed = matching_shards([f"{url}/{shard.name}" for shard in reversed(many_shards)])
        reindex(scorer, listed, index, keep=9, scores=True, engine=engine)
    assert files_of(index) == alone


def test_a_folder_in_object_storage_is_all_its_shards(index, scorer, many_shards, alone):
    system = fsspec.filesystem("memory")
    system.put(f"{many_shards[0].parent}/", "/reindex/", recursive=True)
    system.pipe("/reindex/vocabulary.csv", b"no shard")
    try:
        reindex(scorer, matching_shards(["memory://reindex/"]), index, keep=9, scores=True)
    finally:
        system.rm("/reindex", recursive=True)
    assert files_of(index) == alone


def test_the_command_takes_urls_beside_paths(tmp_path, tiny_bundle, many_shards, alone, command_line):
    folder = many_shards[0].parent
    code, told, talk = command_line(
        "reindex", "--bundle", tiny_bundle.directory, "--index", tmp_path / "index", "--batch", 8, "--threads", 1,
        "--keep", 9, "--scores", "--data", folder / "library00.tfrecord",
        "--data", f"{folder.as_uri()}/library0[1-9].tfrecord",
    )  # fmt: skip
    assert (code, json.loads(told[0])["videos"]) == (0, 30)
    assert files_of(IndexDirectory(tmp_path / "index")) == alone
    assert "reindex: 30 videos" in talk  # how many there would be, nobody knew


def test_shards_come_in_the_order_of_paths(tmp_path):
    for folder in ("a", "a-1", "b"):
        write_shards(tmp_path / folder, make_videos(2), 2)
    pattern = "*/*.tfrecord"
    remote = matching_shards([f"{tmp_path.as_uri()}/{pattern}", f"{tmp_path.as_uri()}/b/library00.tfrecord"])
    assert [shard.url for shard in remote] == [path.as_uri() for path in matching_shards([str(tmp_path / pattern)])]


def test_a_reindex_that_stopped_fetches_only_what_is_not_finished(tmp_path, index, scorer):
    shards = write_shards(tmp_path / "shards", make_videos(20), 4)
    good = shards[3].read_bytes()
    write_records(shards[3], [b"\xff\xff\xff"])
    with serving_files(tmp_path / "shards") as (url, asked):
        with pytest.raises(BadRecord, match=rf"{url}/library03\.tfrecord, record 0, payload"):
            reindex(scorer, matching_shards([f"{url}/"]), index, keep=7)
        shards[3].write_bytes(good)
        os.utime(shards[1], (1e9, 1e9))  # changed, as far as the server tells
        asked.clear()
        done = reindex(scorer, matching_shards([f"{url}/"]), index, keep=7)
    assert done.resumed == 2
    assert set(fetched(asked)) == {"/library00.tfrecord", "/library01.tfrecord", "/library03.tfrecord"}
    here = IndexDirectory(tmp_path / "here")
    reindex(scorer, shards, here, keep=7)
    assert files_of(index) == files_of(here)


def test_a_skipped_record_is_named_by_its_url_and_still_is_when_the_reindex_goes_on(tmp_path, index, scorer):
    records = [serialise_video(video, SPEC) for video in make_videos(2)]
    write_records(tmp_path / "0.tfrecord", [b"\xff\xff\xff", records[0]])
    write_records(tmp_path / "1.tfrecord", [records[0]])
    listed = matching_shards([f"{tmp_path.as_uri()}/*.tfrecord"])
    with pytest.raises(BadRecord, match="a second time"):
        reindex(scorer, listed, index, keep=7, skip_bad=True)
    done = reindex(scorer, listed[:1], index, keep=7, skip_bad=True)
    assert done.resumed == 1
    assert done.manifest.skipped.reasons[0].startswith(f"{tmp_path.as_uri()}/0.tfrecord, record 0, payload: ")


def test_a_line_that_breaks_is_never_taken_for_a_shard_that_ends(index, scorer, many_shards):
    with serving_files(many_shards[0].parent, cut_bytes=20) as (url, _):
        listed = matching_shards([f"{url}/"])
        with pytest.raises(DataError, match=rf"{url}/library00\.tfrecord, fetching: "):
            reindex(scorer, listed, index, keep=9, skip_bad=True)


def test_a_shard_that_grows_after_it_was_listed_is_refused(tmp_path):
    write_shards(tmp_path, make_videos(1), 1)
    (shard,) = matching_shards([f"{tmp_path.as_uri()}/"])
    with (tmp_path / "library00.tfrecord").open("ab") as file:
        file.write(b"more")
    with pytest.raises(DataError, match=rf"fetching: {shard.bytes + 4} bytes; wanted {shard.bytes}, as it was listed"):
        shard.open("rb")


def test_no_copy_is_left(tmp_path, monkeypatch, many_shards):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (shard,) = matching_shards([many_shards[0].as_uri()])
    with shard.open("rb") as file:
        assert file.read() == many_shards[0].read_bytes()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("memory://nothing/*.tfrecord", NoFiles),
        ("memory://nothing/a.tfrecord", DataError),
        ("carrier-pigeon://coop/", DataError),
        ("http://127.0.0.1:9/a.tfrecord", DataError),
    ],
)
def test_a_url_that_names_nothing_is_named(url, error):
    with pytest.raises(error, match=url.replace("*", r"\*")):
        matching_shards([url])


def test_without_fsspec_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtra, match=r"segsearch\[remote\]"):
        matching_shards(["https://127.0.0.1/a.tfrecord"])


@pytest.mark.parametrize("seed", range(5))
def test_no_remote_library_has_more_segments_than_its_bound(tmp_path, seed):
    videos = make_videos(9, seed=seed)
    write_shards(tmp_path, videos)
    shards = LibraryShards(matching_shards([f"{tmp_path.as_uri()}/"]), Reading(SPEC, frame_limit=100))
    assert sum(segment_count(len(video.frames)) for video in videos) <= shards.segment_bound()
    assert shards.record_count([0, 1]) is None
