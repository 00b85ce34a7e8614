"""Shards that cannot be trained on: the fault is named by file, record and field, wherever training meets it."""

import numpy as np
import pytest

from segsearch.core.errors import BadRecord, BadShard
from segsearch.core.features import FeatureSpec
from segsearch.core.records import read_records, write_records
from segsearch.core.videos import Video, read_videos, serialise_video
from segsearch.training.aggregations import FrameMeanConfig, LogisticConfig
from segsearch.training.config import InputConfig, NetworkConfig, RunConfig, StageConfig
from segsearch.training.stages import Run
from tests.tiny_data import tiny_data

CONFIG = RunConfig(
    name="trial",
    network=NetworkConfig(aggregation=FrameMeanConfig(), head=LogisticConfig()),
    input=InputConfig(shuffle_videos=64),
    stage1=StageConfig(batch_size=8, epochs=1),
)


@pytest.fixture(scope="module")
def data(shared):
    return tiny_data(shared)


@pytest.mark.parametrize(
    ("spoil", "place"),
    [
        (lambda payloads, _: [payloads[0], payloads[1][:-9]], "record 1, payload"),
        (lambda payloads, _: [payloads[0], payloads[1].replace(b"audio", b"sound")], "record 1, audio"),
        (lambda _, videos: [_with(videos[0]), _with(videos[1], width=127)], r"record 1, audio\[0\]"),
        (lambda _, videos: [_with(videos[0]), _with(videos[1], labels=[9999])], "record 1, labels"),
    ],
)
def test_a_record_that_cannot_be_trained_on_is_named(shared, data, tmp_path, spoil, place):
    payloads = list(read_records(data.train[0]))[:2]
    videos = list(read_videos(data.train[:1], data.features))[:2]
    write_records(tmp_path / "train.tfrecord", spoil(payloads, videos))
    with pytest.raises(BadRecord, match=f"train.tfrecord, {place}"):
        _stage_one(shared, tmp_path)


def test_a_record_with_a_wrong_checksum_is_named(shared, data, tmp_path):
    write_records(tmp_path / "train.tfrecord", list(read_records(data.train[0]))[:2])
    content = bytearray((tmp_path / "train.tfrecord").read_bytes())
    content[-100] ^= 1
    (tmp_path / "train.tfrecord").write_bytes(content)
    with pytest.raises(BadRecord, match=r"train.tfrecord, record 1, payload: wrong CRC32C"):
        _stage_one(shared, tmp_path)


def test_a_shard_that_ends_early_is_named(shared, data, tmp_path):
    content = data.train[0].read_bytes()
    (tmp_path / "train.tfrecord").write_bytes(content[: len(content) // 2])
    with pytest.raises(BadShard, match=r"train.tfrecord, record \d+, payload: file ends"):
        _stage_one(shared, tmp_path)


def test_unlabelled_shards_cannot_train_stage_one(shared, tmp_path):
    unlabelled = tiny_data(shared, train=str(shared / "data" / "tiny" / "test*.tfrecord"))
    with pytest.raises(BadRecord, match="record 0, labels: missing"):
        Run(config=CONFIG, data=unlabelled, out=tmp_path / "out", report=print).stage_one()


def test_a_rated_class_that_is_no_segment_class_is_named_before_stage_one(shared, tmp_path):
    (tmp_path / "few.csv").write_text("Index\n0\n")
    few = tiny_data(shared, segment_labels=tmp_path / "few.csv")
    with pytest.raises(BadRecord, match=r"validate\d+.tfrecord, record \d+, segment_labels"):
        Run(config=CONFIG, data=few, out=tmp_path / "out", report=print).stage_one()


def _stage_one(shared, folder):
    spoiled = tiny_data(shared, train=str(folder / "train.tfrecord"), features="audio:128")
    Run(config=CONFIG, data=spoiled, out=folder / "out", report=print).stage_one()


def _with(video, width=128, labels=None):
    kept = video.labels if labels is None else np.array(labels, np.int64)
    return serialise_video(Video(video.id, kept, frames=video.frames[:, :width]), FeatureSpec.parse(f"audio:{width}"))
