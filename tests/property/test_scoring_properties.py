"""Scoring: batch mates do not matter; ranking classes: the fast way is a stable sort."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segsearch.core.segments import cut_windows, segment_starts
from segsearch.service.page_making import best_classes
from segsearch.service.scoring.micro_batches import micro_batches
from segsearch.service.scoring.model import open_model
from tests.tiny_model import CONTEXT_FRAMES, SPEC

videos_of_any_length = st.lists(
    st.integers(1, 60).flatmap(lambda frame_count: arrays(np.uint8, (frame_count, SPEC.size))), min_size=1, max_size=6
)
probability_rows = arrays(np.float32, (3, 6), elements=st.sampled_from([0.0, 1e-20, 0.25, 0.5, 0.75, 1.0]))


@settings(max_examples=30)
@given(videos_of_any_length)
def test_batched_scores_equal_single_ones(tiny_bundle, videos):
    model = open_model(tiny_bundle, tiny_bundle.graph(), "cpu")
    batched, single = (
        np.concatenate([model.scores(batch)[0] for batch in model.batches(videos, size, size)]) for size in (8, 1)
    )
    np.testing.assert_allclose(batched, single, atol=1e-5)


@settings(max_examples=50)
@given(videos_of_any_length, st.integers(1, 20))
def test_micro_batches_are_the_windows_of_every_video_in_order(videos, size):
    found = list(micro_batches(videos, CONTEXT_FRAMES, size))
    wanted = [cut_windows(frames, segment_starts(len(frames)), CONTEXT_FRAMES) for frames in videos]
    np.testing.assert_array_equal(np.concatenate([b.windows for b in found]), np.concatenate([w for w, _ in wanted]))
    assert [len(batch.windows) for batch in found[:-1]] == [size] * (len(found) - 1)


@settings(max_examples=50)
@given(probability_rows, st.integers(1, 8))
def test_the_best_classes_are_those_of_a_stable_sort(probabilities, top):
    wanted = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    np.testing.assert_array_equal(best_classes(probabilities, top), wanted)
