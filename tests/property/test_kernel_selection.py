"""Selection by compiled loops against its plain twin, and against a stable sort of everything."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segsearch.core.score_codes import HIGHEST
from segsearch.service.index.kernel_selection import KernelSelection, selection_for
from segsearch.service.index.selection import Selection, select_plain

# Few distinct codes: ties everywhere, at the cut and at both ends of the range.
tied_codes = st.sampled_from([0, 1, 2, 3, HIGHEST - 1, HIGHEST])
libraries = st.tuples(st.integers(1, 70), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.uint16, shape, elements=st.one_of(tied_codes, st.integers(0, HIGHEST)))
)
threads = st.sampled_from([1, 2])


def assert_same(found, wanted):
    for (ordinals, codes), (wanted_ordinals, wanted_codes) in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(ordinals, wanted_ordinals)
        np.testing.assert_array_equal(codes, wanted_codes)
        assert (ordinals.dtype, codes.dtype) == (np.uint32, np.uint16)


@given(libraries, st.integers(1, 80), st.integers(1, 40), threads, st.lists(st.integers(0, 70), max_size=5))
def test_both_selections_keep_the_same_postings(codes, keep, slack, threads, cuts):
    kernels, plain = KernelSelection(codes.shape[1], keep, slack, threads=threads), Selection(codes.shape[1], keep)
    for block in np.split(codes, sorted(cut % (len(codes) + 1) for cut in cuts)):
        kernels.add(block)
        plain.add(block)
    assert_same(kernels.ranked(), plain.ranked())


@given(libraries, st.integers(1, 80), st.integers(1, 40), threads, st.integers(1, 71))
def test_blocks_by_class_in_any_memory_order_are_selected_alike(codes, keep, slack, threads, width):
    whole = np.ascontiguousarray(codes.T)
    for blocks in (whole, codes.T):  # contiguous; as a view of rows
        kernels = KernelSelection(codes.shape[1], keep, slack, threads=threads)
        for first in range(0, len(codes), width):
            kernels.add_by_class(blocks[:, first : first + width])
        assert_same(kernels.ranked(), select_plain(codes, keep))


@settings(max_examples=60)
@given(st.sampled_from([1, 7, 8, 63, 64, 65, 127, 128, 200]), st.integers(0, 2**32 - 1), st.integers(1, 40), threads)
def test_segments_of_any_number_of_classes_are_selected_alike(class_count, seed, keep, threads):
    random = np.random.default_rng(seed)
    codes = random.integers(0, random.choice([3, 200, 1 << 16]), (150, class_count), np.uint16)
    codes[random.random(codes.shape) < 0.02] = HIGHEST
    kernels, plain = KernelSelection(class_count, keep, 8, threads=threads), Selection(class_count, keep)
    for block in np.split(codes, [1, 60, 61]):
        kernels.add(block)
        plain.add(block)
    assert_same(kernels.ranked(), plain.ranked())


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), threads)
def test_a_long_stream_of_likely_codes_is_selected_exactly(seed, threads):
    codes = np.random.default_rng(seed).normal(30_000, 300, (6_000, 3)).astype(np.uint16)
    kernels = KernelSelection(3, 50, 200, threads=threads)
    for block in np.split(codes, [1, 999, 2_500]):
        kernels.add(block)
    assert_same(kernels.ranked(), select_plain(codes, 50))


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_a_stream_that_only_rises_or_only_falls_is_selected_exactly(order):
    codes = np.arange(20_000, dtype=np.uint16)[order, None] // np.array([1, 7, 20_000], np.uint16)
    kernels = KernelSelection(3, 300)
    kernels.add_by_class(np.ascontiguousarray(codes.T))
    assert_same(kernels.ranked(), select_plain(codes, 300))


@pytest.mark.parametrize("by_class", [False, True])
def test_a_mapped_matrix_is_added_whole_and_left_as_it_was(tmp_path, by_class):
    codes = np.random.default_rng(5).integers(0, 1 << 16, (5_000, 4), np.uint16)
    np.save(tmp_path / "codes.npy", codes.T if by_class else codes)
    kernels = KernelSelection(4, 60, threads=2)
    (kernels.add_by_class if by_class else kernels.add)(np.load(tmp_path / "codes.npy", mmap_mode="r"))
    assert_same(kernels.ranked(), select_plain(codes, 60))
    np.testing.assert_array_equal(np.load(tmp_path / "codes.npy"), codes.T if by_class else codes)


@given(libraries, st.integers(1, 80), st.integers(1, 40), threads)
def test_a_whole_matrix_is_selected_alike_in_any_memory_order(codes, keep, slack, threads):
    for matrix in (codes, np.asfortranarray(codes)):
        for selection in (
            KernelSelection(codes.shape[1], keep, slack, threads=threads),
            Selection(matrix.shape[1], keep),
        ):
            selection.add_matrix(matrix)
            assert_same(selection.ranked(), select_plain(codes, keep))


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), threads, st.sampled_from([1, 40, 700, 29_999, 30_000, 40_000]))
def test_a_matrix_long_enough_to_be_sampled_is_selected_exactly(seed, threads, keep):
    random = np.random.default_rng(seed)
    likely = random.normal(30_000, 300, (30_000, 2)).astype(np.uint16)
    tied, constant = likely[:, :1] // 200 * 200, np.full((30_000, 1), HIGHEST, np.uint16)
    codes = np.concatenate([likely, tied, constant], axis=1)
    selection = KernelSelection(4, keep, threads=threads)
    selection.add_matrix(codes)
    assert_same(selection.ranked(), select_plain(codes, keep))


@pytest.mark.parametrize("misled", [0, 2])
def test_a_class_whose_sample_leads_astray_is_read_again(misled):
    codes = np.random.default_rng(1).integers(0, 50_000, (30_000, 3), np.uint16)
    codes[::3, misled] = 60_000 + np.arange(10_000) % 5_000  # every sampled segment is far better than its neighbours
    selection = KernelSelection(3, 12_000, threads=2)
    selection._guess_floors(codes)
    reaching = (codes >= selection._floors).sum(axis=0)
    assert np.flatnonzero(reaching < 12_000).tolist() == [misled]
    selection.add_matrix(codes)
    assert_same(selection.ranked(), select_plain(codes, 12_000))


def test_memory_does_not_grow_with_the_segments():
    selection = KernelSelection(3, 50, 100)
    before = sum(array.nbytes for array in selection._lists)
    for _ in range(50):
        selection.add(np.zeros((1_000, 3), np.uint16))
    assert sum(array.nbytes for array in selection._lists) == before


def test_a_small_library_is_selected_without_compiling():
    assert isinstance(selection_for(8, 100, 1_000), Selection)


def test_a_large_library_is_selected_by_compiled_loops():
    assert isinstance(selection_for(1_000, 10, 2_000_000), KernelSelection)


def test_either_selection_can_be_asked_for():
    assert isinstance(selection_for(8, 100, 1_000, "numba"), KernelSelection)
    assert isinstance(selection_for(1_000, 10, 2_000_000, "numpy"), Selection)
