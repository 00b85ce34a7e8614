"""Model cards: everything that a card must say is in it, and a card that would leave something out is refused."""

import dataclasses
import json

import pytest

from segsearch.core.bundle import Bundle
from segsearch.core.errors import ConfigError, DataError
from segsearch.export.model_card import Facts, Quality, card_of, write_card
from tests.tiny_model import write_tiny_bundle

FACTS = Facts(
    data="Made-up videos.",
    licence="CC BY 4.0.",
    protocol="Five folds by file.",
    cost="A hundred microseconds of one core.",
    use="Ranking by tag.",
    limits="Rare sounds.",
    quality=(Quality(model="this student", value=0.8765, metric="rated MAP@100k", split="validate, five folds"),),
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return Bundle.open(write_tiny_bundle(tmp_path_factory.mktemp("bundles")))


@pytest.mark.parametrize("name", ["data", "licence", "protocol", "cost", "use", "limits"])
def test_a_card_says_what_its_maker_knows(name, bundle):
    assert getattr(FACTS, name) in card_of(bundle, FACTS)


def test_a_figure_stands_beside_its_split(bundle):
    assert "| this student | rated MAP@100k | validate, five folds | 0.8765 |" in card_of(bundle, FACTS)


def test_a_card_says_what_the_bundle_knows(bundle):
    text = card_of(bundle, FACTS)
    for fact in (bundle.digest, bundle.manifest.features.space, f"{bundle.manifest.class_count} probabilities"):
        assert fact in text
    assert f"{bundle.model_path.stat().st_size:,}" in text


def test_a_bundle_with_its_card_beside_it_still_opens(bundle):
    path = write_card(bundle, FACTS)
    assert path.read_text() == card_of(bundle, FACTS)
    assert Bundle.open(bundle.directory).digest == bundle.digest
    assert Bundle.open(bundle.directory.parent).directory == bundle.directory


def test_facts_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "facts.json"
    path.write_text(json.dumps(dataclasses.asdict(FACTS)))
    assert Facts.read(path) == FACTS


@pytest.mark.parametrize("change", [{"licence": " "}, {"limits": None}, {"quality": []}, {"colour": "red"}])
def test_facts_that_leave_something_out_are_refused_by_name(change, tmp_path):
    path = tmp_path / "facts.json"
    path.write_text(json.dumps({**dataclasses.asdict(FACTS), **change}))
    with pytest.raises(DataError, match=next(iter(change))):
        Facts.read(path)


@pytest.mark.parametrize("change", [{"split": ""}, {"value": float("nan")}, {"value": 87.65}])
def test_a_figure_without_a_split_or_beyond_one_is_refused(change):
    with pytest.raises(ConfigError, match=f"quality.{next(iter(change))}"):
        dataclasses.replace(FACTS.quality[0], **change)
