"""A finished piece of a reindex: what goes in comes out, and no damage goes unseen."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segsearch.core.errors import BadRecord, BadShard, DataError
from segsearch.core.segments import segment_count
from segsearch.core.videos import Skips
from segsearch.service.jobs.shard_scores import ScoredVideo, ShardScores, writing_shard_scores

CLASSES = 3
SKIPPED = [
    BadRecord(Path("a.tfrecord"), 4, "rgb[0]", "7 bytes", "one value of 8 bytes"),
    BadShard(Path("a.tfrecord"), 9, "payload", "file ends", "more", unread_bytes=17),
]


def write(path, frame_counts, widths, *, skips=None, seed=0):
    """A piece of videos `a`, `b`, ... with random codes (C, S), cut into blocks; returns the codes."""
    codes = np.random.default_rng(seed).integers(0, 1 << 16, (CLASSES, sum(widths)), np.uint16)
    videos = [ScoredVideo(place, chr(97 + place), count) for place, count in enumerate(frame_counts)]
    with writing_shard_scores(path, CLASSES) as piece:
        for block in np.split(codes, np.cumsum(widths)[:-1], axis=1):
            piece.add(block)
        piece.finish(videos, skips or Skips())
    return codes


@settings(deadline=None)
@given(st.lists(st.integers(1, 23), min_size=1, max_size=5), st.integers(1, 4))
def test_codes_and_videos_come_back_as_they_were(tmp_path_factory, frame_counts, width):
    path = tmp_path_factory.mktemp("piece") / "a.scores"
    segments = sum(map(segment_count, frame_counts))
    widths = [min(width, segments - first) for first in range(0, segments, width)]
    codes = write(path, frame_counts, widths)
    piece = ShardScores.open(path)
    np.testing.assert_array_equal(np.concatenate(list(piece.codes()), axis=1), codes)
    assert [video.frame_count for video in piece.videos] == frame_counts


def test_what_was_skipped_comes_back_as_the_same_errors(tmp_path):
    write(tmp_path / "a.scores", [5], [1], skips=Skips(SKIPPED))
    skips = ShardScores.open(tmp_path / "a.scores").skips
    assert (skips.summary(), skips.unread_bytes, len(skips.broken)) == (Skips(SKIPPED).summary(), 17, 1)


def test_every_flipped_byte_is_found(tmp_path):
    path = tmp_path / "a.scores"
    write(path, [5, 12], [2, 2])
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(DataError, match=r"a\.scores"):
            ShardScores.open(path).verify()


def test_every_truncation_is_found(tmp_path):
    path = tmp_path / "a.scores"
    write(path, [5, 12], [2, 2])
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"a\.scores"):
            ShardScores.open(path).verify()


def fail_within(path):
    with writing_shard_scores(path, CLASSES) as piece:
        piece.add(np.zeros((CLASSES, 2), np.uint16))
        raise InterruptedError


def test_a_piece_that_was_not_finished_is_not_there(tmp_path):
    with pytest.raises(InterruptedError):
        fail_within(tmp_path / "a.scores")
    assert list(tmp_path.iterdir()) == []
