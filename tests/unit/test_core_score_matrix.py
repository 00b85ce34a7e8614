"""Score matrices: what is written is read back, any number of videos at a time, and damage is refused."""

import zipfile

import numpy as np
import pytest

from segsearch.core.errors import MatrixRefused
from segsearch.core.score_matrix import ScoreMatrix
from tests.made_up_matrix import ABOUT, VIDEOS, written


def test_a_matrix_is_read_back_as_it_was_written(matrix):
    assert matrix.about == ABOUT
    assert matrix.label_indices.tolist() == [4, 0, 9]
    assert matrix.video_ids.tolist() == [video.video_id for video in VIDEOS]
    assert matrix.segment_videos.tolist() == [0, 0, 0, 1, 3, 3]
    assert matrix.segment_starts.tolist() == [0, 5, 10, 0, 0, 5]
    np.testing.assert_array_equal(matrix.codes, np.concatenate([video.codes for video in VIDEOS]))


def test_codes_are_mapped_not_read(matrix):
    assert isinstance(matrix.codes, np.memmap)
    assert not matrix.codes.flags.writeable


def test_numpy_alone_reads_a_matrix_too(matrix):
    with np.load(matrix.path) as arrays:
        assert sorted(arrays.files) == [
            "about", "codes", "label_indices", "segment_starts", "segment_videos", "video_ids"
        ]  # fmt: skip
        np.testing.assert_array_equal(arrays["codes"], matrix.codes)


def test_the_same_scores_make_the_same_bytes(matrix, tmp_path):
    assert written(tmp_path / "again.npz").path.read_bytes() == matrix.path.read_bytes()


def test_rows_are_found_by_video_and_start(matrix):
    assert matrix.rows_of([("cccc", 5), ("aaaa", 0), ("ünü", 0)]).tolist() == [5, 0, 3]


def test_a_segment_that_is_not_there_is_named(matrix):
    with pytest.raises(MatrixRefused, match="no segment cccc:10"):
        matrix.rows_of([("cccc", 5), ("cccc", 10)])


def test_an_empty_matrix_is_one_too(tmp_path):
    assert written(tmp_path / "empty.npz", videos=[]).codes.shape == (0, 3)


def test_a_video_that_comes_twice_leaves_no_file(tmp_path):
    with pytest.raises(MatrixRefused, match="video aaaa a second time"):
        written(tmp_path / "twice.npz", videos=[VIDEOS[0], VIDEOS[0]])
    assert list(tmp_path.iterdir()) == []


def test_tables_are_equal_where_segments_are_and_only_there(matrix, tmp_path):
    other_scores = [video._replace(codes=video.codes // 2) for video in VIDEOS]
    assert written(tmp_path / "same.npz", videos=other_scores).table_digest == matrix.table_digest
    assert written(tmp_path / "fewer.npz", videos=VIDEOS[:3]).table_digest != matrix.table_digest
    assert written(tmp_path / "turned.npz", videos=VIDEOS[::-1]).table_digest != matrix.table_digest


@pytest.mark.parametrize("damage", ["empty", "cut", "compressed", "other arrays", "newer"])
def test_a_file_that_is_no_matrix_is_refused_by_name(matrix, tmp_path, damage):
    path, whole = tmp_path / "damaged.npz", matrix.path.read_bytes()
    if damage == "compressed":
        with zipfile.ZipFile(matrix.path) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
            for name in old.namelist():
                new.writestr(name, old.read(name))
    elif damage == "other arrays":
        np.savez(path, codes=np.zeros((2, 2), np.uint16))
    else:
        newer = whole.replace(
            b'"format_version": 1'.decode().encode("utf-32-le"), '"format_version": 2'.encode("utf-32-le")
        )
        path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "newer": newer}[damage])
    with pytest.raises(MatrixRefused, match=r"damaged\.npz"):
        ScoreMatrix.open(path)


def test_a_changed_code_is_found_when_all_is_read(matrix):
    content = bytearray(matrix.path.read_bytes())
    at = content.index(np.full(6, 7, "<u2").tobytes())
    content[at] ^= 1
    matrix.path.write_bytes(content)
    with pytest.raises(MatrixRefused, match=r"codes\.npy: Bad CRC-32"):
        matrix.verify()


def test_an_undamaged_matrix_verifies(matrix):
    matrix.verify()
