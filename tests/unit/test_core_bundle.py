"""A bundle opens only whole, plain and agreeing with its manifest."""

import dataclasses
import json
import os
import subprocess

import numpy as np
import pytest

from segsearch.core.bundle import Bundle, Golden, Graph, Manifest, free_version, write_bundle
from segsearch.core.errors import BundleRefused, BundleSpaceMismatch, BundleVocabularyMismatch, ConfigError
from segsearch.core.features import FeatureSpec
from segsearch.core.vocabulary import Entry, Vocabulary

VOCABULARY = Vocabulary([Entry(3, "Cat"), Entry(9, "Dog")])


def manifest(version=1, **changes):
    golden = Golden(np.ones((9, 4), np.uint8), np.array([6, 3], np.int32), np.full((3, 2), 0.25, np.float32))
    facts = {
        "name": "tiny", "version": version, "features": FeatureSpec.parse("audio:4"), "context_frames": 5,
        "vocabulary_digest": VOCABULARY.digest, "class_count": 2, "embedding_size": 4, "golden": golden,
    }  # fmt: skip
    return Manifest(**{**facts, **changes})


@pytest.fixture
def directory(tmp_path):
    return write_bundle(tmp_path, manifest(), VOCABULARY, b"onnx bytes")


def test_a_bundle_opens_as_it_was_written(directory):
    bundle = Bundle.open(directory)
    assert bundle.model_path.read_bytes() == b"onnx bytes"
    assert bundle.vocabulary.digest == VOCABULARY.digest
    assert bundle.manifest.features.space == "youtube8m/audio4/-2..2"
    np.testing.assert_array_equal(bundle.manifest.golden.lengths, [6, 3])


@pytest.mark.usefixtures("directory")
def test_the_name_directory_opens_its_highest_version(tmp_path):
    write_bundle(tmp_path, manifest(version=10), VOCABULARY, b"newer")
    assert Bundle.open(tmp_path / "tiny").manifest.version == 10


def test_a_version_that_is_there_is_left_alone(directory, tmp_path):
    with pytest.raises(ConfigError, match=r"version is 1, wanted one that is not in .*tiny yet, or --force"):
        write_bundle(tmp_path, manifest(), VOCABULARY, b"again")
    assert Bundle.open(directory).model_path.read_bytes() == b"onnx bytes"


def test_replacing_a_version_replaces_it_whole(directory, tmp_path):
    write_bundle(tmp_path, manifest(), VOCABULARY, b"again", replace=True)
    assert Bundle.open(directory).model_path.read_bytes() == b"again"
    assert sorted(entry.name for entry in directory.parent.iterdir()) == ["1"]


@pytest.mark.usefixtures("directory")
def test_the_next_free_version_is_above_every_one_there_is(tmp_path):
    (tmp_path / "tiny/7").mkdir()
    assert (free_version(tmp_path, "tiny"), free_version(tmp_path, "other"), free_version(tmp_path, "tiny", 3)) == (
        8, 1, 3,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["../evil/x", "/evil", ".hidden", "a/b", "", "a b", "..", "x" * 129, "a\n"])
def test_a_name_that_is_no_plain_directory_name_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="name is"):
        write_bundle(tmp_path / "out", manifest(name=name), VOCABULARY, b"")
    with pytest.raises(ConfigError, match="name is"):
        free_version(tmp_path / "out", name)
    assert list(tmp_path.iterdir()) == []


def flip_model(directory):
    (directory / "model.onnx").write_bytes(b"onnx bytez")


def drop_model(directory):
    (directory / "model.onnx").unlink()


def link_model(directory):
    (directory / "model.onnx").rename(directory.parent / "elsewhere")
    (directory / "model.onnx").symlink_to(directory.parent / "elsewhere")


def add_file(directory):
    (directory / "weights.bin").write_bytes(b"")


def cut_manifest(directory):
    text = (directory / "manifest.json").read_text()
    (directory / "manifest.json").write_text(text[: len(text) // 2])


def edit_golden(**changes):
    def edit(directory):
        golden = json.loads((directory / "manifest.json").read_text())["golden"]
        edit_manifest(golden={**golden, **changes})(directory)

    return edit


def graph(difference):
    return edit_manifest(graphs=[dataclasses.asdict(Graph(difference=difference))])


def variant(file, precision, difference):
    graphs = [Graph(), Graph(file, "windows", precision, difference)]
    return edit_manifest(graphs=[dataclasses.asdict(graph) for graph in graphs])


def fill_manifest(text):
    return lambda directory: (directory / "manifest.json").write_text(text)


def edit_manifest(**changes):
    def edit(directory):
        file = directory / "manifest.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return edit


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (flip_model, "model.onnx has sha256"),
        (drop_model, "model.onnx is missing"),
        (link_model, "not a plain file"),
        (add_file, "unknown file weights.bin"),
        (cut_manifest, "manifest.json is not JSON"),
        (edit_manifest(format_version=2), "format version 2; this release reads 1"),
        (edit_manifest(class_count=3), "vocabulary of 2 classes, digest .*, wanted 3 classes"),
        (edit_manifest(vocabulary_digest="0" * 64), "wanted 2 classes, digest 000000000000"),
        (edit_manifest(feature_space="youtube8m/audio5/-2..2"), "feature_space is"),
        (edit_manifest(golden={}), "manifest is not usable"),
        (edit_manifest(features={"streams": "audio"}), "manifest is not usable"),
        (edit_manifest(files={}), "files in manifest.json"),
        (edit_manifest(features={"streams": 5, "extractor": "x", "low": -2, "high": 2}), "manifest is not usable"),
        (edit_manifest(features=5), "manifest is not usable"),
        (edit_manifest(version=float("inf")), "manifest is not usable"),
        (edit_manifest(version=-1), "version is -1"),
        (edit_manifest(name="../x"), "name is '../x'"),
        (edit_manifest(window={"segment_frames": 5, "context_frames": 10**9}), "context_frames is 1000000000"),
        (edit_manifest(window={"segment_frames": 5, "context_frames": -1}), "context_frames is -1"),
        (fill_manifest("[" * 100_000), "manifest.json is not JSON"),
        (edit_golden(tolerance=float("nan")), "tolerance is nan, wanted 0 to 0.01"),
        (edit_golden(tolerance=-1e-4), "tolerance is -0.0001"),
        (edit_golden(tolerance=0.011), "tolerance is 0.011"),
        (edit_golden(tolerance="much"), "manifest is not usable"),
        (edit_golden(lengths={"dtype": "float32", "shape": [1], "base64": "AAAQQQ=="}), "golden lengths are float32"),
        (graph(0.011), "difference of model.onnx is 0.011, wanted 0 to 0.01"),
        (graph(float("nan")), "difference of model.onnx is nan"),
        (variant("model.int8.onnx", "int8", 0.11), "difference of model.int8.onnx is 0.11, wanted 0 to 0.1"),
        (variant("model.fp16.onnx", "float16", 0.02), "difference of model.fp16.onnx is 0.02, wanted 0 to 0.01"),
        (variant("model.int8.onnx", "float16", 0.0), "wanted float32 in model.onnx"),
        (variant("model.onnx", "float32", 0.0), "wanted float32 in model.onnx"),
        (variant("model.onnx", "float8", 0.0), "wanted float32 in model.onnx"),
        (edit_manifest(graphs=[]), "wanted float32 in model.onnx"),
    ],
)
def test_a_damaged_bundle_is_refused_with_the_reason(directory, damage, reason):
    damage(directory)
    with pytest.raises(BundleRefused, match=reason):
        Bundle.open(directory)


def test_a_foreign_feature_space_is_an_error_of_its_own(directory):
    edit_manifest(feature_space="youtube8m/audio5/-2..2")(directory)
    with pytest.raises(BundleSpaceMismatch) as caught:
        Bundle.open(directory)
    assert (caught.value.found, caught.value.wanted) == ("youtube8m/audio5/-2..2", "youtube8m/audio4/-2..2")


def test_a_foreign_vocabulary_is_an_error_of_its_own(directory):
    edit_manifest(vocabulary_digest="f" * 64)(directory)
    with pytest.raises(BundleVocabularyMismatch) as caught:
        Bundle.open(directory)
    assert caught.value.found == f"2 classes, digest {VOCABULARY.digest[:12]}"
    assert caught.value.wanted == "2 classes, digest ffffffffffff"


def test_a_directory_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(BundleRefused, match=r"no manifest\.json"):
        Bundle.open(tmp_path)


FILES = ("model.onnx", "vocabulary.csv", "manifest.json")


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_has_a_second_name_on_disk_is_refused(directory, tmp_path, name):
    (tmp_path / "elsewhere").hardlink_to(directory / name)
    with pytest.raises(BundleRefused, match=f"{name} is missing or not a plain file of its own"):
        Bundle.open(directory)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_a_pipe_is_refused_and_nobody_waits_for_what_comes_through(directory, name):
    file = directory / name
    file.unlink()
    os.mkfifo(file)
    with subprocess.Popen(["sh", "-c", 'echo {} > "$0"', str(file)]) as writer:  # so that whoever reads it goes on
        with pytest.raises(BundleRefused, match=f"{name} is missing or not a plain file of its own"):
            Bundle.open(directory)
        writer.kill()


def test_a_manifest_that_is_a_link_or_a_folder_is_refused(directory):
    file, elsewhere = directory / "manifest.json", directory.parent / "elsewhere"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)
    with pytest.raises(BundleRefused, match=r"manifest\.json is missing or not a plain file of its own"):
        Bundle.open(directory)
    file.unlink()
    file.mkdir()
    with pytest.raises(BundleRefused, match=r"manifest\.json is missing or not a plain file of its own"):
        Bundle.open(directory)
