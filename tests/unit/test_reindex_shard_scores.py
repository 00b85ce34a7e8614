"""A finished piece of a reindex: what goes in comes out, and no damage goes unseen."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
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


def write(path, frame_counts, widths, *, skips=None, seed=0, size=0):
    """A piece of videos `a`, `b`, ... with random codes (C, S) and embeddings (S, size), in blocks; returns both."""
    random, ends = np.random.default_rng(seed), np.cumsum(widths)[:-1]
    codes = random.integers(0, 1 << 16, (CLASSES, sum(widths)), np.uint16)
    embeddings = random.normal(0, 1, (sum(widths), size)).astype(np.float16)
    videos = [ScoredVideo(place, chr(97 + place), count) for place, count in enumerate(frame_counts)]
    with writing_shard_scores(path, CLASSES, size) as piece:
        for block, own in zip(np.split(codes, ends, axis=1), np.split(embeddings, ends), strict=True):
            piece.add(block, own if size else None)
        piece.finish(videos, skips or Skips())
    return codes, embeddings


@given(st.lists(st.integers(1, 23), min_size=1, max_size=5), st.integers(1, 4), st.integers(0, 3))
def test_codes_embeddings_and_videos_come_back_as_they_were(tmp_path_factory, frame_counts, width, size):
    path = tmp_path_factory.mktemp("piece") / "a.scores"
    segments = sum(map(segment_count, frame_counts))
    widths = [min(width, segments - first) for first in range(0, segments, width)]
    codes, embeddings = write(path, frame_counts, widths, size=size)
    piece = ShardScores.open(path)
    np.testing.assert_array_equal(np.concatenate(list(piece.codes()), axis=1), codes)
    np.testing.assert_array_equal(np.concatenate([found for _, found in piece.contents()]), embeddings)
    assert [video.frame_count for video in piece.videos] == frame_counts


def test_what_was_skipped_comes_back_as_the_same_errors(tmp_path):
    write(tmp_path / "a.scores", [5], [1], skips=Skips(SKIPPED))
    skips = ShardScores.open(tmp_path / "a.scores").skips
    assert (skips.summary(), skips.unread_bytes, len(skips.broken)) == (Skips(SKIPPED).summary(), 17, 1)


@pytest.mark.parametrize("size", [0, 2])
def test_every_flipped_byte_is_found(tmp_path, size):
    path = tmp_path / "a.scores"
    write(path, [5, 12], [2, 2], size=size)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(DataError, match=r"a\.scores"):
            ShardScores.open(path).verify()


@pytest.mark.parametrize("size", [0, 2])
def test_every_truncation_is_found(tmp_path, size):
    path = tmp_path / "a.scores"
    write(path, [5, 12], [2, 2], size=size)
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
