"""Kaggle's CSV, written and read back."""

import pytest

from segsearch.core.errors import DataError
from segsearch.service.submission import RankedClass, ranked_classes, read_submission, write_submission


def test_the_csv_holds_every_class_in_vocabulary_order_best_first(tmp_path, index):
    generation = index.open_current()
    write_submission(tmp_path / "out.csv", ranked_classes(generation, 3))
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == "Class,Segments"
    assert [int(line.split(",")[0]) for line in lines[1:]] == [e.label_index for e in generation.vocabulary.entries]
    ids, starts = generation.segments(generation.postings(generation.vocabulary.find("Speech"), 3)[0])
    assert lines[1] == "3," + " ".join(f"{i}:{s}" for i, s in zip(ids, starts, strict=True))


def test_reading_gives_back_what_was_written(tmp_path, index):
    ranked = list(ranked_classes(index.open_current()))
    assert write_submission(tmp_path / "out.csv", ranked) == 8
    assert list(read_submission(tmp_path / "out.csv")) == ranked


def test_a_class_without_segments_is_an_empty_list(tmp_path):
    write_submission(tmp_path / "out.csv", [RankedClass(7, [])])
    assert list(read_submission(tmp_path / "out.csv")) == [RankedClass(7, [])]


def test_a_subset_of_classes_can_be_written(index):
    assert [ranked.label_index for ranked in ranked_classes(index.open_current(), 1, [23, 3])] == [3, 23]


def test_a_failed_writing_leaves_the_old_file(tmp_path):
    def ranked():
        yield RankedClass(1, ["a:0"])
        raise RuntimeError

    write_submission(tmp_path / "out.csv", [RankedClass(1, ["old:0"])])
    with pytest.raises(RuntimeError):
        write_submission(tmp_path / "out.csv", ranked())
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.csv"]
    assert next(read_submission(tmp_path / "out.csv")).segments == ["old:0"]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "line 1: ''"),
        ("Class;Segments\n", "line 1"),
        ("Class,Segments\n1,a:0\nx,a:0\n", "line 3: class 'x'"),
        ("Class,Segments\n1,a:0  b:5\n", "line 2: segment id ''"),
        ("Class,Segments\n1,a:0 b5\n", "line 2: segment id 'b5'"),
        ("Class,Segments\n1,a:0 b:x\n", "line 2: segment id 'b:x'"),
        ("Class,Segments\n1,a:0,b:0\n", "line 2: 'a:0,b:0'"),
        ("Class,Segments\n1,a:0\n1,a:5\n", "line 3: class 1 a second time"),
        ("Class,Segments\n\n", "line 2"),
        (f"Class,Segments\n{'7' * 5000},a:0\n", "line 2: class '7777"),
        (f"Class,Segments\n1,a:0,b:{'5' * 5000}\n", "line 2: segment id 'a:0,b:5555"),
    ],
)
def test_a_fault_names_file_and_line(tmp_path, text, place):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(DataError, match=r"bad\.csv, " + place):
        list(read_submission(tmp_path / "bad.csv"))


def test_windows_line_ends_and_a_byte_order_mark_are_read(tmp_path):
    (tmp_path / "out.csv").write_bytes(b"\xef\xbb\xbfClass,Segments\r\n1,a:0 b:5\r\n")
    assert list(read_submission(tmp_path / "out.csv")) == [RankedClass(1, ["a:0", "b:5"])]
