"""What is generated from `proto/` is what is committed."""

import sys
from pathlib import Path
from subprocess import run

from tests.conftest import ROOT

FILE = "segsearch/v1/search"


def test_generated_code_is_that_of_the_proto_file(tmp_path: Path) -> None:
    """`make protos` writes it anew."""
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    run([sys.executable, "-m", "grpc_tools.protoc", "-I", ROOT / "proto", *outputs, f"{FILE}.proto"], check=True)
    for ending in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py"):
        assert (tmp_path / f"{FILE}{ending}").read_text() == (ROOT / f"proto/{FILE}{ending}").read_text()
