"""A folder goes on with the run it holds, and with no other: the first field that differs is named."""

import json

import pytest

from segsearch.core.errors import DataError
from segsearch.training.aggregations import DistillationConfig, MixConfig
from segsearch.training.agreement import RUN, agree, first_difference, weights_of
from segsearch.training.config import NetworkConfig
from segsearch.training.errors import OtherRun

DOCUMENT = {"config": {"name": "trial", "stage1": {"epochs": 3}}, "seed": 0, "train": [["train00.tfrecord", 10]]}


def test_a_new_folder_keeps_what_it_is_for_and_takes_the_same_again(tmp_path):
    agree(tmp_path, DOCUMENT)
    assert json.loads((tmp_path / RUN).read_text()) == DOCUMENT
    agree(tmp_path, DOCUMENT)


@pytest.mark.parametrize(
    ("changes", "field", "found", "wanted"),
    [
        ({"config": {"name": "trial", "stage1": {"epochs": 5}}, "seed": 9}, "config.stage1.epochs", 3, 5),
        ({"train": []}, "train", [["train00.tfrecord", 10]], []),
        ({"distil": {"weight": 1}}, "distil", None, {"weight": 1}),
    ],
)
def test_another_run_is_refused_by_the_first_field_that_differs(tmp_path, changes, field, found, wanted):
    agree(tmp_path, DOCUMENT)
    with pytest.raises(OtherRun) as caught:
        agree(tmp_path, {**DOCUMENT, **changes})
    assert (caught.value.field, caught.value.found, caught.value.wanted) == (field, found, wanted)


def test_a_field_that_only_the_older_run_has_is_a_difference_too():
    assert first_difference("", {"a": 1, "b": 2}, {"a": 1}) == ("b", 2, None)


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_damaged_document_is_named(tmp_path, text):
    (tmp_path / RUN).write_text(text)
    with pytest.raises(DataError, match=r"run\.json, settings"):
        agree(tmp_path, DOCUMENT)


def test_how_a_mix_teaches_its_towers_is_no_part_of_its_weights():
    usual, warmer = (
        NetworkConfig(mix=MixConfig(distillation=DistillationConfig(temperature=value))) for value in (3.0, 20.0)
    )
    assert weights_of(usual) == weights_of(warmer)
    assert weights_of(usual) != weights_of(NetworkConfig())
