"""What is generated from `proto/` is what is committed."""

import sys
from pathlib import Path
from subprocess import run

import pytest

from tests.conftest import ROOT

FILES = ("segsearch/v1/search", "segsearch/inference/open_inference")


@pytest.mark.parametrize("file", FILES)
def test_generated_code_is_that_of_the_proto_file(tmp_path: Path, file: str) -> None:
    """`make protos` writes it anew."""
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    run([sys.executable, "-m", "grpc_tools.protoc", "-I", ROOT / "proto", *outputs, f"{file}.proto"], check=True)
    for ending in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py"):
        assert (tmp_path / f"{file}{ending}").read_text() == (ROOT / f"proto/{file}{ending}").read_text()
