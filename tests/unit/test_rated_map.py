"""Rated MAP where there is little to rank."""

import math

import numpy as np
import pytest

from segsearch.training.input.survey import RatedSegments
from segsearch.training.rated_map import rated_map


@pytest.mark.parametrize("pairs", [0, 2])
def test_without_a_positive_there_is_no_figure(pairs):
    rated = RatedSegments((), np.zeros(pairs, np.int64), np.arange(pairs), np.zeros(pairs, np.float32), 0)
    assert math.isnan(rated_map(np.zeros((1, 2), np.uint16), rated))
