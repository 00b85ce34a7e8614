"""What several unit tests ask for."""

import pytest

from tests.made_up_matrix import written


@pytest.fixture
def matrix(tmp_path):
    """The made-up score matrix, in a file of this test alone."""
    return written(tmp_path / "matrix.npz")
