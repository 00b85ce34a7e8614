"""A library's shards: records are counted without reading them, and the bound on segments holds."""

import pytest

from segsearch.core.records import count_records
from segsearch.core.segments import segment_count
from segsearch.core.videos import Skips
from segsearch.service.jobs.library_shards import LibraryShards, Reading
from tests.library_fixtures import make_videos, write_shards
from tests.tiny_model import SPEC


def test_records_are_counted_from_their_headers(shards):
    assert [count_records(file) for file in shards] == [15, 15]


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_truncated_record_is_not_counted(tmp_path, videos, cut):
    (file,) = write_shards(tmp_path, videos[:4], 1)
    file.write_bytes(file.read_bytes()[:-cut])
    assert count_records(file) == 3


def test_an_empty_file_has_no_records(tmp_path):
    (tmp_path / "empty").touch()
    assert count_records(tmp_path / "empty") == 0


@pytest.mark.parametrize("seed", range(5))
def test_no_library_has_more_segments_than_its_bound(tmp_path, seed):
    videos = make_videos(9, seed=seed)
    shards = LibraryShards(write_shards(tmp_path, videos), Reading(SPEC, frame_limit=100))
    assert sum(segment_count(len(video.frames)) for video in videos) <= shards.segment_bound()


def test_every_video_comes_with_its_record_number(shards, videos):
    reading = Reading(SPEC, 100, skip_bad=True)
    found = [(record, video.id) for shard in shards for record, video in reading.videos(shard, Skips())]
    assert found == [(place % 15, video.id) for place, video in enumerate(videos)]
