"""`segsearch bundle`: what a bundle is, whether its models prove themselves, how two differ."""

import json

import pytest
import typer
from typer.testing import CliRunner

from segsearch.core.bundle import Bundle
from segsearch.core.errors import BundleRefused
from segsearch.service.scoring.bundle_cli import bundle as command
from tests.tiny_blocks import INT8_DIFFERENCE, tiny_line, write_block_bundle
from tests.tiny_model import NAMES, SPEC, write_tiny_bundle


@pytest.fixture
def block_bundle(tmp_path):
    return write_block_bundle(tmp_path, tiny_line())


def answers(*arguments):
    """The JSON lines that the command prints."""
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_show_says_what_a_bundle_is(block_bundle):
    (facts,) = answers("show", block_bundle)
    assert facts["digest"] == Bundle.open(block_bundle).digest
    assert facts["feature_space"] == SPEC.space
    assert [graph["precision"] for graph in facts["graphs"]] == ["float32", "int8"]


def test_verify_says_how_far_each_model_is_off(block_bundle):
    full, small = answers("verify", block_bundle)
    assert full["difference"] < 1e-5 < small["difference"] < INT8_DIFFERENCE


def test_verify_refuses_a_bundle_with_one_changed_byte(block_bundle):
    content = bytearray((block_bundle / "model.int8.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (block_bundle / "model.int8.onnx").write_bytes(content)
    with pytest.raises(BundleRefused, match=r"model\.int8\.onnx has sha256"):
        answers("verify", block_bundle)


def test_diff_of_a_bundle_with_itself_is_nothing(block_bundle):
    (facts,) = answers("diff", block_bundle, block_bundle)
    assert facts["changed"] == {}
    assert facts["scores"] == {"largest": 0.0, "mean": 0.0}


def test_diff_compares_the_classes_that_both_know(tmp_path):
    first = write_tiny_bundle(tmp_path / "a")
    second = write_tiny_bundle(tmp_path / "b", names=NAMES[:5], seed=8)
    (facts,) = answers("diff", first, second)
    assert facts["classes_in_both"] == 5
    assert facts["classes_only_in_first"] == 3
    assert facts["changed"]["classes"] == [8, 5]
    assert facts["scores"]["largest"] > 0.01


def test_diff_wants_two_bundles(block_bundle):
    app = typer.Typer()
    app.command()(command)
    assert CliRunner().invoke(app, ["diff", str(block_bundle)]).exit_code == 2
