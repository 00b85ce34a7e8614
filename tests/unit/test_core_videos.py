"""Readers and writers of shards: round trips, and what each kind of damage is called."""

import numpy as np
import pytest

from segsearch.core.errors import BadRecord, BadShard, ConfigError, DataError, NoFiles
from segsearch.core.example_pb2 import Example, SequenceExample
from segsearch.core.features import FeatureSpec
from segsearch.core.files import matching_files
from segsearch.core.records import read_records, write_records
from segsearch.core.videos import (
    Annotations,
    Ratings,
    Skips,
    Video,
    VideoMeans,
    read_annotations,
    read_video_means,
    read_videos,
    serialise_annotations,
    serialise_video,
    serialise_video_means,
    streams_of,
)
from segsearch.core.vocabulary import Entry, Vocabulary

SPEC = FeatureSpec.parse("rgb:6,audio:2")
RATINGS = Ratings(np.array([10, 0]), np.array([3, 7]), np.array([1, 0], np.float32))


def video(video_id="abcd", frame_count=12, labels=(3, 7), ratings=RATINGS):
    frames = np.arange(frame_count * SPEC.size, dtype=np.uint8).reshape(frame_count, SPEC.size)
    return Video(video_id, np.array(labels), ratings, frames=frames)


@pytest.fixture
def shard(tmp_path):
    """A shard of three videos."""
    path = tmp_path / "train00.tfrecord"
    write_records(path, [serialise_video(video(name), SPEC) for name in ("one1", "two2", "tri3")])
    return path


def damaged(path, change):
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)


def written(path, mutate):
    """A shard of one video, its SequenceExample changed by `mutate`."""
    record = SequenceExample.FromString(serialise_video(video(), SPEC))
    mutate(record)
    write_records(path, [record.SerializeToString()])
    return path


def test_a_video_comes_back_as_it_was_written(shard):
    first = next(read_videos([shard], SPEC))
    assert first.id == "one1"
    np.testing.assert_array_equal(first.frames, video().frames)
    np.testing.assert_array_equal(first.labels, [3, 7])
    np.testing.assert_array_equal(first.ratings.starts, RATINGS.starts)
    np.testing.assert_array_equal(first.ratings.scores, RATINGS.scores)


def test_a_video_without_labels_reads_as_none_not_as_empty(tmp_path):
    unlabelled = Video("test", None, frames=video().frames)
    write_records(tmp_path / "a", [serialise_video(unlabelled, SPEC)])
    assert next(read_videos([tmp_path / "a"], SPEC)).labels is None


def test_annotations_read_without_frames(tmp_path):
    write_records(tmp_path / "truth", [serialise_annotations(Annotations("abcd", None, RATINGS))])
    (found,) = read_annotations([tmp_path / "truth"])
    np.testing.assert_array_equal(found.ratings.labels, RATINGS.labels)


def test_video_level_records_come_back_as_they_were_written(tmp_path):
    means = np.linspace(-1, 1, SPEC.size, dtype=np.float32)
    write_records(tmp_path / "v", [serialise_video_means(VideoMeans("abcd", np.array([5]), means), SPEC)])
    (found,) = read_video_means([tmp_path / "v"], SPEC)
    np.testing.assert_array_equal(found.means, means)


def test_audioset_records_read_by_their_own_keys(tmp_path):
    spec = FeatureSpec.parse("audio=audio_embedding:2")

    def rename(record):
        record.feature_lists.feature_list["audio_embedding"].CopyFrom(record.feature_lists.feature_list["audio"])
        record.context.feature["video_id"].CopyFrom(record.context.feature["id"])
        del record.context.feature["id"]

    (found,) = read_videos([written(tmp_path / "audioset", rename)], spec)
    np.testing.assert_array_equal(found.frames, video().frames[:, 6:])


def test_record_keys_do_not_change_the_feature_space():
    assert FeatureSpec.parse("audio=audio_embedding:128").space == FeatureSpec.parse("audio:128").space


def test_streams_are_read_from_the_data_with_rgb_first(shard):
    assert streams_of(shard) == SPEC


def empty_row(record):
    record.feature_lists.feature_list["audio"].feature[0].bytes_list.value[0] = b""


def no_streams(record):
    record.feature_lists.Clear()


@pytest.mark.parametrize(
    ("mutate", "message"), [(empty_row, r"audio\[0\]: 0 bytes"), (no_streams, "feature_lists: no feature stream")]
)
def test_streams_that_cannot_be_read_name_file_and_record(tmp_path, mutate, message):
    with pytest.raises(BadRecord, match=rf"bad\.tfrecord, record 0, {message}"):
        streams_of(written(tmp_path / "bad.tfrecord", mutate))


def test_streams_of_noise_name_file_and_record(tmp_path):
    write_records(tmp_path / "noise", [b"\xff" * 40])
    with pytest.raises(BadRecord, match="noise, record 0, payload: not a protobuf message"):
        streams_of(tmp_path / "noise")


def test_a_mean_of_another_type_is_named(tmp_path):
    means = VideoMeans("abcd", None, np.zeros(8, np.float32))
    record = Example.FromString(serialise_video_means(means, SPEC))
    record.features.feature["mean_rgb"].bytes_list.value.append(b"x")
    write_records(tmp_path / "v", [record.SerializeToString()])
    with pytest.raises(BadRecord, match="mean_rgb: bytes_list; wanted float_list"):
        list(read_video_means([tmp_path / "v"], SPEC))


@pytest.mark.parametrize("text", ["rgb", "rgb:0", "rgb:1024;audio:128", "rgb:8,rgb:8", ""])
def test_a_feature_spec_that_cannot_be_meant_is_refused(text):
    with pytest.raises(ConfigError):
        FeatureSpec.parse(text)


def test_frames_behind_the_cap_are_dropped(shard):
    assert [len(found.frames) for found in read_videos([shard], SPEC, cap=5)] == [5, 5, 5]


def test_a_video_longer_than_the_limit_is_refused(shard):
    with pytest.raises(BadRecord, match=r"record 0, rgb: 12 frames; wanted at most 11"):
        list(read_videos([shard], SPEC, limit=11))


def test_a_file_cut_short_names_file_and_record(shard):
    damaged(shard, lambda data: data.__delitem__(slice(-3, None)))
    with pytest.raises(BadShard, match=r"train00\.tfrecord, record 2, payload: file ends after"):
        list(read_videos([shard], SPEC))


def test_a_flipped_bit_in_the_payload_is_found(shard):
    damaged(shard, lambda data: data.__setitem__(40, data[40] ^ 1))
    with pytest.raises(BadRecord, match=r"record 0, payload: wrong CRC32C"):
        list(read_videos([shard], SPEC))


def test_a_flipped_bit_in_the_length_is_found(shard):
    damaged(shard, lambda data: data.__setitem__(2, data[2] ^ 1))
    with pytest.raises(BadShard, match=r"record 0, length: wrong CRC32C"):
        list(read_videos([shard], SPEC))


@pytest.mark.parametrize("at", [2, 40])  # in the length, in the payload
def test_a_wrong_checksum_says_what_was_found_and_what_stands_there(shard, at):
    damaged(shard, lambda data: data.__setitem__(at, data[at] ^ 1))
    with pytest.raises(DataError, match=r"wrong CRC32C (0x\w{8}); wanted (?!\1)0x\w{8} as stored"):
        list(read_videos([shard], SPEC))


def test_the_lost_rest_of_a_broken_file_is_told_in_bytes(shard):
    size = shard.stat().st_size
    first = (size - 3 * 16) // 3 + 16  # three records alike, each 16 bytes beside its payload
    damaged(shard, lambda data: data.__setitem__(first + 2, data[first + 2] ^ 1))
    skips = Skips()
    assert [found.id for found in read_videos([shard], SPEC, skips=skips)] == ["one1"]
    assert skips.unread_bytes == size - first
    assert f"the rest of {shard} from record 1 on, {size - first} bytes, is lost" in skips.summary()


def test_skipped_records_are_counted_with_their_reasons(shard):
    damaged(shard, lambda data: data.__setitem__(40, data[40] ^ 1))
    skips = Skips()
    assert [found.id for found in read_videos([shard], SPEC, skips=skips)] == ["two2", "tri3"]
    assert "1 skipped" in skips.summary()
    assert "record 0" in skips.summary()


def missing_stream(record):
    del record.feature_lists.feature_list["audio"]


def shorter_stream(record):
    del record.feature_lists.feature_list["audio"].feature[-1]


def short_row(record):
    record.feature_lists.feature_list["rgb"].feature[2].bytes_list.value[0] = b"123"


def no_frames(record):
    for entry in record.feature_lists.feature_list.values():
        del entry.feature[:]


def no_id(record):
    del record.context.feature["id"]


def blank_in_id(record):
    record.context.feature["id"].bytes_list.value[0] = b"a b"


def unequal_ratings(record):
    record.context.feature["segment_labels"].int64_list.value.append(1)


def odd_start(record):
    record.context.feature["segment_start_times"].int64_list.value[0] = 7


def late_start(record):
    record.context.feature["segment_start_times"].int64_list.value[0] = 15
    record.context.feature["segment_end_times"].int64_list.value[0] = 20


def labels_of_bytes(record):
    record.context.feature["labels"].bytes_list.value.append(b"3")


def scores_of_ints(record):
    record.context.feature["segment_scores"].int64_list.value.extend([1, 0])


def starts_of_floats(record):
    record.context.feature["segment_start_times"].float_list.value.extend([10, 0])


def id_of_ints(record):
    record.context.feature["id"].int64_list.value.append(5)


def frames_of_floats(record):
    record.feature_lists.feature_list["rgb"].feature[1].float_list.value.extend([0] * 6)


def unprintable_id(record):
    record.context.feature["id"].bytes_list.value[0] = "a\u2028b".encode()


def nan_score(record):
    record.context.feature["segment_scores"].float_list.value[0] = float("nan")


@pytest.mark.parametrize(
    ("mutate", "message"),
    [
        (missing_stream, r"audio: missing \(streams here: rgb\)"),
        (shorter_stream, r"feature_lists: streams of unequal length \{'rgb': 12, 'audio': 11\}"),
        (short_row, r"rgb\[2\]: 3 bytes; wanted one value of 6 bytes"),
        (no_frames, r"rgb: 0 frames"),
        (no_id, r"id: 0 values"),
        (blank_in_id, r"id: 'a b'"),
        (unprintable_id, r"id: 'a\\u2028b'"),
        (labels_of_bytes, r"labels: bytes_list; wanted int64_list"),
        (scores_of_ints, r"segment_scores: int64_list; wanted float_list"),
        (starts_of_floats, r"segment_start_times: float_list; wanted int64_list"),
        (id_of_ints, r"id: int64_list; wanted bytes_list"),
        (frames_of_floats, r"rgb\[1\]: float_list; wanted bytes_list"),
        (unequal_ratings, r"segment_\*: lists of unequal length"),
        (odd_start, r"segment_start_times: \[7, 0\]; wanted multiples of 5"),
        (late_start, r"segment_start_times: 15 in a video of 12 frames"),
        (nan_score, r"segment_scores: nan"),
    ],
)
def test_a_damaged_record_names_file_record_and_field(tmp_path, mutate, message):
    path = written(tmp_path / "bad.tfrecord", mutate)
    with pytest.raises(BadRecord, match=r"bad\.tfrecord, record 0, " + message):
        list(read_videos([path], SPEC))


def test_a_label_outside_the_vocabulary_is_named(shard):
    vocabulary = Vocabulary([Entry(3, "Cat")])
    with pytest.raises(BadRecord, match=r"record 0, labels: label 7 is outside the vocabulary"):
        list(read_videos([shard], SPEC, vocabulary=vocabulary))


def test_bytes_that_are_no_message_are_a_bad_record(tmp_path):
    write_records(tmp_path / "noise", [b"\xff" * 40])
    with pytest.raises(BadRecord, match="not a protobuf message"):
        list(read_videos([tmp_path / "noise"], SPEC))


def test_a_pattern_without_a_file_is_named(tmp_path):
    with pytest.raises(NoFiles, match=r"nothing\*\.tfrecord"):
        matching_files([str(tmp_path / "nothing*.tfrecord")])


def test_a_writer_that_fails_leaves_no_file(tmp_path):
    def payloads():
        yield b"first"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_records(tmp_path / "half.tfrecord", payloads())
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_holds_no_records(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert list(read_records(tmp_path / "empty")) == []
