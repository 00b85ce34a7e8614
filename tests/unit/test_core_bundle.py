"""A bundle opens only whole, plain and agreeing with its manifest."""

import json

import numpy as np
import pytest

from segsearch.core.bundle import Bundle, Golden, Manifest, write_bundle
from segsearch.core.errors import BundleRefused
from segsearch.core.features import FeatureSpec
from segsearch.core.vocabulary import Entry, Vocabulary

VOCABULARY = Vocabulary([Entry(3, "Cat"), Entry(9, "Dog")])


def manifest(version=1, **changes):
    golden = Golden(np.ones((2, 15, 4), np.uint8), np.array([15, 8], np.int32), np.full((2, 2), 0.25, np.float32))
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
    np.testing.assert_array_equal(bundle.manifest.golden.frame_counts, [15, 8])


@pytest.mark.usefixtures("directory")
def test_the_name_directory_opens_its_highest_version(tmp_path):
    write_bundle(tmp_path, manifest(version=10), VOCABULARY, b"newer")
    assert Bundle.open(tmp_path / "tiny").manifest.version == 10


def test_writing_a_version_again_replaces_it_whole(directory, tmp_path):
    write_bundle(tmp_path, manifest(), VOCABULARY, b"again")
    assert Bundle.open(directory).model_path.read_bytes() == b"again"
    assert sorted(entry.name for entry in directory.parent.iterdir()) == ["1"]


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
        (edit_manifest(class_count=3), "does not match the manifest's digest and class count"),
        (edit_manifest(vocabulary_digest="0" * 64), "does not match the manifest's digest and class count"),
        (edit_manifest(feature_space="youtube8m/audio5/-2..2"), "feature_space is"),
        (edit_manifest(golden={}), "manifest is not usable"),
        (edit_manifest(features={"streams": "audio"}), "manifest is not usable"),
        (edit_manifest(files={}), "files in manifest.json"),
    ],
)
def test_a_damaged_bundle_is_refused_with_the_reason(directory, damage, reason):
    damage(directory)
    with pytest.raises(BundleRefused, match=reason):
        Bundle.open(directory)


def test_a_directory_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(BundleRefused, match=r"no manifest\.json"):
        Bundle.open(tmp_path)
