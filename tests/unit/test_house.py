"""The tree is in order: format, lint, types, import contracts. Each is one make target, so that there is one truth."""

import subprocess

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize("target", ["lint", "types", "contracts"])
def test_the_tree_is_in_order(target):
    done = subprocess.run(["make", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
