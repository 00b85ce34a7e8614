"""How tags are found, and which vocabularies are refused."""

import pytest

from segsearch.core.errors import DataError, UnknownTag
from segsearch.core.vocabulary import Entry, Vocabulary, read_segment_labels


@pytest.fixture
def vocabulary():
    return Vocabulary(
        [
            Entry(31, "Cat", "/m/01yrx"),
            Entry(4, "Electric guitar", "/m/02sgy"),
            Entry(8, "Guitar"),
            Entry(90, "Fire engine, fire truck (siren)"),
        ]
    )


@pytest.mark.parametrize("tag", ["Cat", "cat", " CAT ", "31", "/m/01yrx", "/M/01YRX"])
def test_a_tag_is_found_by_name_in_any_case_label_index_and_knowledge_graph_id(vocabulary, tag):
    assert vocabulary[vocabulary.find(tag)].name == "Cat"


@pytest.mark.parametrize(("tag", "nearest"), [("guitars", "Guitar"), ("catt", "Cat"), ("siren", "Fire engine")])
def test_an_unknown_tag_offers_the_nearest(vocabulary, tag, nearest):
    with pytest.raises(UnknownTag, match=nearest):
        vocabulary.find(tag)


@pytest.mark.parametrize("tag", ["", "٣١", "zzzz", "-1", "99"])
def test_nonsense_is_an_unknown_tag(vocabulary, tag):
    with pytest.raises(UnknownTag):
        vocabulary.find(tag)


def test_completion_puts_names_that_begin_so_before_words_that_do(vocabulary):
    assert [vocabulary[c].name for c in vocabulary.starting_with("gui", 5)] == ["Guitar", "Electric guitar"]


def test_a_vocabulary_reads_back_from_its_csv_with_the_same_digest(vocabulary, tmp_path):
    (tmp_path / "v.csv").write_text(vocabulary.to_csv(), encoding="utf-8")
    assert Vocabulary.read(tmp_path / "v.csv").digest == vocabulary.digest


def test_order_changes_the_digest(vocabulary):
    assert Vocabulary(reversed(vocabulary.entries)).digest != vocabulary.digest


def test_a_subset_keeps_the_order_asked_for(vocabulary):
    assert [entry.label_index for entry in vocabulary.subset([8, 31]).entries] == [8, 31]


def test_the_audioset_vocabulary_and_its_segment_classes_read(shared):
    vocabulary = Vocabulary.read(shared / "data/vocabulary.csv")
    labels = read_segment_labels(shared / "data/segment_label_ids.csv")
    assert (len(vocabulary), len(labels)) == (527, 100)
    assert vocabulary[vocabulary.find("male speech, man speaking")].label_index == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Name\nCat\n", "a column Index"),
        ("Index,Name\nx,Cat\n", "line|record 1, Index: 'x'"),
        ("Index,Name\n1,Cat\n1,Dog\n", "1 a second time"),
        ("Index,Name\n", "at least one class"),
        ("Index,Name\n1,Cat\n2\n", "record 2, Name: missing"),
        (f"Index,Name\n{1 << 63},Cat\n", "record 1, Index: '9223372036854775808'; wanted a whole number from 0 to"),
        (f"Index,Name\n{'7' * 5000},Cat\n", "record 1, Index: '7777"),
        (f"Index,Name\n1,Cat\n2,{'x' * 131_073}\n", "row: field larger than field limit"),
        ("x" * 131_073, "row: field larger than field limit"),
    ],
)
def test_a_damaged_vocabulary_names_file_and_line(tmp_path, text, message):
    (tmp_path / "v.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        Vocabulary.read(tmp_path / "v.csv")


def test_an_empty_name_is_a_class_without_one(tmp_path):
    (tmp_path / "v.csv").write_text("Index,KnowledgeGraphId,Name\n7,/m/x,\n")
    assert Vocabulary.read(tmp_path / "v.csv")[0].name == "label 7"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"Index\n\xff\n", "wanted a readable UTF-8 CSV file"),
        (b"Index\n" + b"7" * 5000, "record 1, Index: '7777"),
        (b"Index\n9223372036854775808\n", "record 1, Index: '9223372036854775808'"),
    ],
)
def test_damaged_segment_labels_name_file_and_line(tmp_path, content, message):
    (tmp_path / "s.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"s\.csv.*{message}"):
        read_segment_labels(tmp_path / "s.csv")


def test_missing_segment_labels_name_the_file(tmp_path):
    with pytest.raises(DataError, match=r"s\.csv, segment labels: .*No such file"):
        read_segment_labels(tmp_path / "s.csv")


def test_a_segment_label_outside_the_vocabulary_is_named_with_its_file(tmp_path, vocabulary):
    (tmp_path / "s.csv").write_text("Index\n31\n5\n")
    with pytest.raises(DataError, match=r"s\.csv, record 2, Index: label 5 is unknown; wanted one of 4 label indices"):
        read_segment_labels(tmp_path / "s.csv", vocabulary)


def test_a_word_among_segment_labels_is_damage_but_for_the_header(tmp_path):
    (tmp_path / "s.csv").write_text("Index\n3\nfour\n")
    with pytest.raises(DataError, match="'four'"):
        read_segment_labels(tmp_path / "s.csv")


@pytest.mark.parametrize("digits", [20, 5_000])
def test_more_digits_than_a_label_index_has_name_no_tag(vocabulary, digits):
    with pytest.raises(UnknownTag):
        vocabulary.find("9" * digits)
