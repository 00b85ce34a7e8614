"""Signed bundles: what a key vouches for, and everything that makes a signature worth nothing."""

import base64
import json
import shutil
import subprocess
import sys

import pytest
import typer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from typer.testing import CliRunner

from segsearch.core.bundle import SIGNATURE, SIGNATURE_LIMIT_BYTES, Bundle, write_bundle
from segsearch.core.errors import BundleRefused, ConfigError, ModelNotLoaded, SignatureRefused
from segsearch.export.cli import export
from segsearch.export.signing import signer
from segsearch.service.scoring.bundle_cli import bundle as command
from segsearch.service.scoring.bundle_folder import BundleFolder
from segsearch.service.scoring.signed import check_signature
from tests.integration.test_export import checkpoint_of
from tests.integration.test_model_reload import open_scorer
from tests.tiny_model import NAMES, TinyModel, tiny_manifest, vocabulary_of, write_tiny_bundle

VOCABULARY, MODEL = vocabulary_of(), TinyModel.seeded(len(NAMES))


def write_key(folder, name, key, password=None):
    """NAME.pem, NAME.pub."""
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    (folder / f"{name}.pem").write_bytes(private)
    (folder / f"{name}.pub").write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """A folder with the key pairs `ours` and `theirs`, and some that cannot be used."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        write_key(folder, name, ec.generate_private_key(ec.SECP256R1()))
    write_key(folder, "locked", ec.generate_private_key(ec.SECP256R1()), b"word")
    write_key(folder, "rsa", rsa.generate_private_key(65537, 2048))
    (folder / "junk.pem").write_text("no key")
    (folder / "junk.pub").write_text("no key")
    return folder


def written(root, keys, version=1):
    """A signed bundle."""
    manifest = tiny_manifest(MODEL, VOCABULARY, version=version)
    content = MODEL.onnx().SerializeToString()
    return write_bundle(root, manifest, VOCABULARY, content, sign=signer(keys / "ours.pem"))


@pytest.fixture
def directory(tmp_path, keys):
    return written(tmp_path, keys)


def test_a_bundle_is_signed_with_the_key_that_signed_it(directory, keys):
    check_signature(Bundle.open(directory), keys / "ours.pub")


def test_the_signature_names_every_file_and_the_version(directory):
    envelope = json.loads((directory / SIGNATURE).read_text())["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    assert [subject["name"] for subject in statement["subject"]] == ["1"]
    files = {resource["name"] for resource in statement["predicate"]["resources"]}
    assert files == {entry.name for entry in directory.iterdir()} - {SIGNATURE}


def test_another_key_is_refused(directory, keys):
    with pytest.raises(SignatureRefused, match="does not match the provided public key"):
        check_signature(Bundle.open(directory), keys / "theirs.pub")


def test_an_unsigned_bundle_is_refused_and_opens_all_the_same(tiny_bundle, keys):
    with pytest.raises(SignatureRefused, match=r"not signed; wanted model\.sig"):
        check_signature(tiny_bundle, keys / "ours.pub")


def other_scores(directory):
    """A manifest that says of itself that it is right, with a digest that fits."""
    document = json.loads((directory / "manifest.json").read_text())
    document["created_at"] = "2027-01-01T00:00:00+00:00"
    (directory / "manifest.json").write_text(json.dumps(document))


def test_one_changed_word_of_the_manifest_is_refused(directory, keys):
    other_scores(directory)
    with pytest.raises(SignatureRefused, match=r"Hash mismatch for 'manifest\.json'"):
        check_signature(Bundle.open(directory), keys / "ours.pub")


@pytest.mark.parametrize("hidden", [".git/hooks", ".gitattributes"])
def test_a_file_that_git_would_own_is_an_extra_file(directory, keys, hidden):
    bundle = Bundle.open(directory)
    (directory / hidden).parent.mkdir(exist_ok=True)
    (directory / hidden).write_text("")
    with pytest.raises(SignatureRefused, match="Extra files found"):
        check_signature(bundle, keys / "ours.pub")
    with pytest.raises(BundleRefused, match="unknown file"):
        Bundle.open(directory)


def test_a_missing_file_is_refused(directory, keys):
    bundle = Bundle.open(directory)
    (directory / "vocabulary.csv").unlink()
    with pytest.raises(SignatureRefused, match=r"Missing files.*vocabulary\.csv"):
        check_signature(bundle, keys / "ours.pub")


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"dsseEnvelope": 5}', "\x00" * 50])
def test_a_damaged_signature_is_refused(directory, keys, content):
    (directory / SIGNATURE).write_text(content)
    with pytest.raises(SignatureRefused):
        check_signature(Bundle.open(directory), keys / "ours.pub")


def test_a_signature_of_other_content_is_refused(directory, keys):
    document = json.loads((directory / SIGNATURE).read_text())
    statement = base64.b64decode(document["dsseEnvelope"]["payload"]).replace(b'"sha256"', b'"sha512"', 1)
    document["dsseEnvelope"]["payload"] = base64.b64encode(statement).decode()
    (directory / SIGNATURE).write_text(json.dumps(document))
    with pytest.raises(SignatureRefused, match="InvalidSignature: the signature is not that of the key"):
        check_signature(Bundle.open(directory), keys / "ours.pub")


def test_an_old_bundle_in_a_new_ones_place_is_refused(tmp_path, keys):
    old, new = written(tmp_path, keys, 1), written(tmp_path, keys, 2)
    shutil.rmtree(new)
    shutil.copytree(old, new)
    with pytest.raises(SignatureRefused, match="signed as tiny/1, and lies at tiny/2"):
        check_signature(Bundle.open(tmp_path / "tiny"), keys / "ours.pub")


def test_a_signature_that_is_a_link_or_far_too_large_is_refused_with_its_bundle(directory):
    signature = directory / SIGNATURE
    signature.rename(directory.parent / "elsewhere")
    signature.symlink_to(directory.parent / "elsewhere")
    with pytest.raises(BundleRefused, match=r"model\.sig is missing or not a plain file"):
        Bundle.open(directory)
    signature.unlink()
    signature.write_bytes(b" " * (SIGNATURE_LIMIT_BYTES + 1))
    with pytest.raises(BundleRefused, match=r"model\.sig is larger than"):
        Bundle.open(directory)


@pytest.mark.parametrize("name", ["junk", "none", "rsa", "locked"])
def test_a_key_that_cannot_sign_is_named(keys, name):
    with pytest.raises(ConfigError, match=rf"sign_key is '.*{name}\.pem', wanted a PEM file"):
        signer(keys / f"{name}.pem")


@pytest.mark.parametrize("name", ["junk", "none", "rsa"])
def test_a_key_that_cannot_verify_is_named(directory, keys, name):
    with pytest.raises(ConfigError, match=rf"key is '.*{name}\.pub', wanted a PEM file"):
        check_signature(Bundle.open(directory), keys / f"{name}.pub")


def test_a_signing_that_fails_leaves_no_bundle(tmp_path):
    def fails(_):
        raise OSError("the token is gone")

    with pytest.raises(OSError, match="the token is gone"):
        write_bundle(tmp_path, tiny_manifest(MODEL, VOCABULARY), VOCABULARY, b"", sign=fails)
    assert list((tmp_path / "tiny").iterdir()) == []


def invoked(*arguments, command=command):
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_verify_with_a_key_looks_at_the_signature_and_the_models(directory, keys):
    done = invoked("verify", directory, "--key", keys / "ours.pub")
    first, model = (json.loads(line) for line in done.stdout.splitlines())
    assert first == {"signed_with": str(keys / "ours.pub"), "bundle": str(directory)}
    assert model["file"] == "model.onnx"
    assert isinstance(invoked("verify", directory, "--key", keys / "theirs.pub").exception, SignatureRefused)
    assert invoked("show", directory, "--key", keys / "ours.pub").exit_code == 2


def test_an_export_signs_what_it_writes(tmp_path, keys):
    checkpoint = checkpoint_of(tmp_path / "c").directory
    words = (checkpoint, "--out", tmp_path / "b", "--sign-key", keys / "ours.pem")
    assert invoked(*words, command=export).exit_code == 0
    check_signature(Bundle.open(tmp_path / "b/tiny"), keys / "ours.pub")


def test_a_key_that_cannot_sign_ends_an_export_before_any_work(tmp_path, keys):
    checkpoint = checkpoint_of(tmp_path / "c").directory
    done = invoked(checkpoint, "--out", tmp_path / "b", "--sign-key", keys / "junk.pem", command=export)
    assert isinstance(done.exception, ConfigError)
    assert not (tmp_path / "b").exists()


# Where a key is wanted of every bundle


def test_a_server_that_wants_a_key_loads_what_is_signed_with_it_and_nothing_else(tmp_path, keys, scorer):
    root = tmp_path / "bundles"
    written(root, keys)
    write_tiny_bundle(root / "unsigned", seed=8)
    folder = BundleFolder(root, open_scorer, keys / "ours.pub")
    folder.scorer("tiny", scorer).close()
    with pytest.raises(ModelNotLoaded, match=r"not signed; wanted model\.sig"):
        folder.scorer("unsigned/tiny", scorer)
    with pytest.raises(ModelNotLoaded, match="does not match the provided public key"):
        BundleFolder(root, open_scorer, keys / "theirs.pub").scorer("tiny", scorer)


@pytest.mark.parametrize(
    ("key", "code", "told"), [("ours", 0, ""), ("theirs", 1, "does not match the provided public")]
)
def test_a_reindex_and_a_server_with_another_key_do_not_begin(tmp_path, keys, shards, key, code, told):
    directory, index = written(tmp_path, keys), tmp_path / "index"
    common = ("--bundle", directory, "--index", index, "--bundle-key", keys / f"{key}.pub", "--threads", 1)
    reindexed = run("reindex", *common, "--data", shards[0], "--batch", 8)
    assert (reindexed.returncode, told in reindexed.stderr) == (code, True), reindexed.stderr
    index.mkdir(exist_ok=True)
    checked = run("serve", *common, "--check")
    assert (checked.returncode, told in checked.stderr) == (code, True), checked.stderr


def run(*words) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", "from segsearch.core.cli import main; main()", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)
