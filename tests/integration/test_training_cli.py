"""`segsearch train` as people call it: what it refuses, and what it prints."""

import json

import pytest
import typer
from typer.testing import CliRunner

from segsearch.core.errors import BadRecord, ConfigError, DataError, MissingExtra, NoFiles
from segsearch.core.example_pb2 import SequenceExample
from segsearch.core.records import read_records, write_records
from segsearch.training import backend, cli
from tests.tiny_data import settings, tiny_arguments

TINY = {
    "network.aggregation": {"kind": "dbof", "clusters": 16, "hidden": 8},
    "stage1.batch_size": 16,
    "stage1.epochs": 1,
    "stage2.batch_size": 64,
    "stage2.epochs": 1,
}


@pytest.fixture
def train():
    """Calls `segsearch train` in this process; errors come as they are raised."""
    app = typer.Typer()
    app.command()(cli.train)

    def call(*arguments):
        result = CliRunner().invoke(app, list(map(str, arguments)))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


def test_training_one_fold_prints_one_json_line_a_stage(train, shared, tmp_path):
    result = train("dbof_yt8m", *tiny_arguments(shared), "--out", tmp_path, "--fold", 2, *settings(TINY))
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["stage"] for line in lines] == ["stage1", "fold2"]
    assert lines[1]["metrics"][0]["split"] == "fold 2 of 5"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["dbof_yt9m"], "RUN"),
        (["dbof_yt8m", "--fold", "5"], "--fold"),
        (["dbof_yt8m", "--set", "stage3.epochs=1"], "--set"),
        (["dbof_yt8m", "--features", "rgb"], "feature streams"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(train, shared, tmp_path, arguments, field):
    with pytest.raises(ConfigError) as caught:
        train(*arguments, "--data", shared / "data", "--out", tmp_path / "out")
    assert caught.value.field == field
    assert not (tmp_path / "out").exists()


def test_a_folder_without_shards_is_refused(train, tmp_path):
    with pytest.raises(NoFiles, match=r"train\*\.tfrecord"):
        train("dbof_yt8m", "--data", tmp_path, "--out", tmp_path / "out")


def test_training_without_tensorflow_says_what_to_install(train, shared, tmp_path, monkeypatch):
    monkeypatch.setattr(backend, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"segsearch\[train\]"):
        train("dbof_yt8m", "--data", shared / "data", "--out", tmp_path / "out")


def no_labels(record):
    del record.context.feature["labels"]


def empty_labels(record):
    del record.context.feature["labels"].int64_list.value[:]


def labels_as_text(record):
    record.context.feature["labels"].bytes_list.value.append(b"3")


@pytest.mark.parametrize("damage", [no_labels, empty_labels, labels_as_text])
def test_a_training_video_without_labels_is_named_wherever_it_stands(train, shared, tmp_path, damage):
    records = [SequenceExample.FromString(payload) for payload in read_records(shared / "data/tiny/train00.tfrecord")]
    damage(records[1])
    write_records(tmp_path / "train00.tfrecord", [record.SerializeToString() for record in records])
    arguments = [*tiny_arguments(shared), "--train", tmp_path / "train*", "--out", tmp_path / "out"]
    with pytest.raises(BadRecord, match=r"train00\.tfrecord, record 1, labels: "):
        train("dbof_yt8m", *arguments, *settings(TINY))


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_damaged_run_json_is_named(train, shared, tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(DataError, match=r"run\.json, settings"):
        train("dbof_yt8m", "--data", shared / "data", "--out", tmp_path)
