"""Reindexing real shards with a real model: what is published, and what bad input does to it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from segsearch.core.errors import BadRecord, BadShard, ConfigError, DataError, FeatureSpaceMismatch, SegsearchError
from segsearch.core.features import FeatureSpec
from segsearch.core.records import read_records, write_records
from segsearch.core.score_codes import decode, encode_probabilities
from segsearch.core.segments import segment_starts
from segsearch.core.videos import Video, serialise_video
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.selection import select_plain
from segsearch.service.jobs.reindex import reindex
from segsearch.service.jobs.work_folder import PREFIX
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from tests.library_fixtures import make_videos, write_shards
from tests.tiny_model import SPEC


def published(index: IndexDirectory) -> list[str]:
    """Everything in the index directory but the lock and finished pieces of a reindex that failed."""
    names = (entry.name for entry in index.root.iterdir())
    return sorted(name for name in names if name != ".lock" and not name.startswith(PREFIX))


def test_every_class_keeps_exactly_its_best_segments(tmp_path, scorer, shards, videos):
    index = IndexDirectory(tmp_path)
    reindex(scorer, shards, index, keep=25)
    generation = index.open_current()
    codes = np.concatenate([encode_probabilities(scorer.score(video.frames).probabilities) for video in videos])
    names = [(video.id, start) for video in videos for start in segment_starts(len(video.frames)).tolist()]
    for entry, (ordinals, wanted) in zip(generation.vocabulary.entries, select_plain(codes, 25), strict=True):
        postings, found = generation.postings(generation.vocabulary.ordinal_of(entry.label_index), 25)
        ids, starts = generation.segments(postings)
        assert list(zip(ids, starts.tolist(), strict=True)) == [names[ordinal] for ordinal in ordinals]
        np.testing.assert_array_equal(found, wanted)


def test_the_batch_size_and_the_threads_change_nothing(tmp_path, tiny_bundle, shards):
    lists = []
    for batch, threads in ((1, 1), (64, 3)):
        index = IndexDirectory(tmp_path / str(batch))
        with OnnxScorer(tiny_bundle, batch=batch, threads=threads) as scorer:
            reindex(scorer, shards, index, keep=1000)
        lists.append(decode(index.open_current().codes))
    np.testing.assert_allclose(*lists, atol=2e-4)  # 1e-5 of the model, and what a code may round


def test_compiled_loops_and_numpy_publish_the_same_postings(tmp_path, scorer, shards):
    opened = []
    for selection in ("numba", "numpy"):
        index = IndexDirectory(tmp_path / selection)
        reindex(scorer, shards, index, keep=25, selection=selection)
        opened.append(index.open_current())
    for name in ("offsets", "ordinals", "codes"):
        np.testing.assert_array_equal(*(getattr(generation, name) for generation in opened))


def test_a_second_reindex_publishes_the_next_generation_and_keeps_the_first(index, scorer, shards):
    assert reindex(scorer, shards, index, keep=3).manifest.number == 2
    assert published(index) == ["1", "2", "CURRENT"]
    assert index.open_current().manifest.limit == 3


def test_the_manifest_counts_what_was_read(index, videos):
    manifest = index.open_current().manifest
    segments = sum(len(segment_starts(len(video.frames))) for video in videos)
    assert (manifest.video_count, manifest.segment_count, manifest.skipped.count) == (len(videos), segments, 0)


def test_progress_is_shown_with_rate_and_end(tmp_path, scorer, shards, capsys):
    reindex(scorer, shards, IndexDirectory(tmp_path), keep=10)
    assert "reindex: 30/30 videos" in capsys.readouterr().err


def other_streams(video: Video) -> bytes:
    return serialise_video(video, FeatureSpec.parse("rgb:8,sound:4"))


def wrong_size(video: Video) -> bytes:
    return serialise_video(video, FeatureSpec.parse("rgb:7,audio:5"))


def unequal(video: Video) -> bytes:
    shorter = Video(video.id, None, frames=video.frames[:-1, 8:])
    audio = serialise_video(shorter, FeatureSpec.parse("audio:4"))
    rgb = serialise_video(Video(video.id, None, frames=video.frames[:, :8]), FeatureSpec.parse("rgb:8"))
    return rgb + audio  # protobuf merges messages that follow each other


def no_frames(video: Video) -> bytes:
    return serialise_video(Video(video.id, None, frames=video.frames[:0]), SPEC)


BAD_RECORDS: dict[str, tuple[Callable[[Video], bytes], str]] = {
    "missing stream": (other_streams, "audio: missing"),
    "wrong size": (wrong_size, r"rgb\[0\]: 7 bytes; wanted one value of 8 bytes"),
    "unequal lengths": (unequal, "streams of unequal length"),
    "0 frames": (no_frames, "0 frames|missing"),
    "not a record": (lambda _: b"\xff\xff\xff", "not a protobuf message"),
}


@pytest.fixture
def bad_shard(tmp_path: Path) -> Callable[[str], list[Path]]:
    """A shard of six videos whose third record is bad in a given way."""

    def write(kind: str) -> list[Path]:
        payloads = [serialise_video(video, SPEC) for video in make_videos(6, prefix="b")]
        payloads[2] = BAD_RECORDS[kind][0](make_videos(6, prefix="b", seed=4)[2])
        write_records(tmp_path / "bad.tfrecord", payloads)
        return [tmp_path / "bad.tfrecord"]

    return write


@pytest.mark.parametrize("kind", BAD_RECORDS)
def test_a_bad_record_stops_the_reindex_and_is_named(index, scorer, bad_shard, kind):
    with pytest.raises(BadRecord, match=rf"bad\.tfrecord, record 2.*({BAD_RECORDS[kind][1]})"):
        reindex(scorer, bad_shard(kind), index, keep=10)
    assert published(index) == ["1", "CURRENT"]


@pytest.mark.parametrize("kind", BAD_RECORDS)
def test_a_bad_record_is_skipped_on_demand_counted_and_reported(index, scorer, bad_shard, kind, capsys):
    manifest = reindex(scorer, bad_shard(kind), index, keep=10, skip_bad=True).manifest
    assert (manifest.video_count, manifest.skipped.count) == (5, 1)
    assert "bad.tfrecord, record 2" in manifest.skipped.reasons[0]
    assert "1 skipped; the first:" in capsys.readouterr().err


def damaged(shards: list[Path], folder: Path, at: float, *, cut: bool) -> list[Path]:
    """The second shard with one byte changed, or cut off, at a share of its length."""
    content = bytearray(shards[1].read_bytes())
    place = int(len(content) * at)
    content[place] ^= 1
    file = folder / "library01.tfrecord"
    file.write_bytes(content[:place] if cut else content)
    return [shards[0], file]


def test_a_truncated_shard_stops_the_reindex_and_the_old_generation_stays(index, tmp_path, scorer, shards):
    with pytest.raises(BadShard, match=r"library01\.tfrecord, record \d+, (payload|header)"):
        reindex(scorer, damaged(shards, tmp_path, 0.6, cut=True), index, keep=10)
    assert (published(index), index.current()) == (["1", "CURRENT"], 1)


def test_the_rest_of_a_truncated_shard_is_skipped_on_demand(index, tmp_path, scorer, shards):
    manifest = reindex(scorer, damaged(shards, tmp_path, 0.6, cut=True), index, keep=10, skip_bad=True).manifest
    assert 15 < manifest.video_count < 30
    assert manifest.skipped.count == 1


def test_what_a_broken_shard_loses_is_in_the_manifest_and_on_stderr(index, tmp_path, scorer, shards, capsys):
    content = bytearray(shards[1].read_bytes())
    second = 16 + len(next(iter(read_records(shards[1]))))  # where record 1 begins
    content[second + 2] ^= 1
    (tmp_path / "broken.tfrecord").write_bytes(content)
    reindex(scorer, [shards[0], tmp_path / "broken.tfrecord"], index, keep=10, skip_bad=True)
    skipped = index.open_current().manifest.skipped
    assert (skipped.count, skipped.broken_files, skipped.unread_bytes) == (1, 1, len(content) - second)
    told = f"the rest of {tmp_path / 'broken.tfrecord'} from record 1 on, {len(content) - second} bytes, is lost"
    assert told in capsys.readouterr().err


def test_a_wrong_checksum_names_the_record(index, tmp_path, scorer, shards):
    payload = next(iter(read_records(shards[1])))
    content = bytearray(shards[1].read_bytes())
    content[12 + len(payload) // 2] ^= 1
    (tmp_path / "flipped.tfrecord").write_bytes(content)
    with pytest.raises(BadRecord, match=r"flipped\.tfrecord, record 0, payload: wrong CRC32C"):
        reindex(scorer, [tmp_path / "flipped.tfrecord"], index, keep=10)


def test_a_video_that_comes_twice_is_an_error_even_when_others_are_skipped(index, tmp_path, scorer, videos):
    files = write_shards(tmp_path, [*videos[:4], videos[1]], shard_count=2)
    with pytest.raises(BadRecord, match=r"library01\.tfrecord, record 1, id: 'v001' a second time"):
        reindex(scorer, files, index, keep=10, skip_bad=True)
    assert published(index) == ["1", "CURRENT"]


def test_features_of_another_space_are_refused_before_anything_is_built(index, tmp_path, scorer):
    spec = FeatureSpec.parse("audio:128")
    files = write_shards(tmp_path, make_videos(3, spec=spec), spec=spec)
    with pytest.raises(FeatureSpaceMismatch, match=r"audio128.*wanted youtube8m/rgb8\+audio4"):
        reindex(scorer, files, index, keep=10)


def test_streams_may_lie_under_other_names(tmp_path, scorer, videos):
    elsewhere = FeatureSpec.parse("rgb:8,audio=audio_embedding:4")
    files = write_shards(tmp_path, videos, spec=elsewhere)
    done = reindex(scorer, files, IndexDirectory(tmp_path / "index"), keep=10, spec=elsewhere)
    assert done.manifest.video_count == len(videos)


def test_a_library_without_one_usable_video_is_an_error(index, tmp_path, scorer):
    write_records(tmp_path / "empty.tfrecord", [])
    with pytest.raises(DataError, match=r"empty\.tfrecord.*none that can be used in 1 files"):
        reindex(scorer, [tmp_path / "empty.tfrecord"], index, keep=10, skip_bad=True)
    assert published(index) == ["1", "CURRENT"]


def test_a_video_beyond_the_frame_limit_is_a_bad_record(index, scorer, shards, videos):
    longest = max(len(video.frames) for video in videos)
    with pytest.raises(BadRecord, match=rf"rgb: {longest} frames; wanted at most {longest - 1}"):
        reindex(scorer, shards, index, keep=10, frame_limit=longest - 1)


@pytest.mark.parametrize(
    "setting", [{"keep": 0}, {"keep": 1_000_001}, {"keep": 1, "frame_limit": 0}, {"keep": 1, "keep_generations": 0}]
)
def test_a_setting_out_of_range_is_named(index, scorer, shards, setting):
    field, value = list(setting.items())[-1]
    with pytest.raises(ConfigError, match=f"{field} is {value}, wanted 1 to "):
        reindex(scorer, shards, index, **setting)


def test_every_error_of_a_reindex_is_ours(index, tmp_path, scorer, shards):
    for at in np.linspace(0.01, 0.99, 15):
        with pytest.raises(SegsearchError):
            reindex(scorer, damaged(shards, tmp_path, float(at), cut=True), index, keep=10)
    assert published(index) == ["1", "CURRENT"]
