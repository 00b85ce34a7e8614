"""Queries of several tags: how a text is read, and what is no query."""

import numpy as np
import pytest

from segsearch.core.errors import InvalidInput, UnknownTag
from segsearch.core.score_codes import HIGHEST, encode_probabilities
from segsearch.core.vocabulary import Entry, Vocabulary
from segsearch.service.index.expression import Both, Either, Not, Tag, combine, parse, tags_of

NAMES = ("Dog", "Cat", "Drum and bass", "Rain", "Kit (association football)", "Not (film)")
VOCABULARY = Vocabulary([Entry(10 + number, name) for number, name in enumerate(NAMES)])
DOG, CAT, DRUM, RAIN, KIT, FILM = (Tag(VOCABULARY.ordinal_of(10 + number)) for number in range(len(NAMES)))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("dog", DOG),
        ("10", DOG),
        ("Drum and bass", DRUM),  # a name as it stands is that tag
        ("kit (association football)", KIT),
        ("not (film)", FILM),
        ("dog and cat", Both(DOG, CAT)),
        ("dog AND NOT cat", Both(DOG, Not(CAT))),
        ("dog or cat and rain", Either(DOG, Both(CAT, RAIN))),
        ("(dog or cat) and rain", Both(Either(DOG, CAT), RAIN)),
        ("dog and cat and rain", Both(Both(DOG, CAT), RAIN)),
        ('"Drum and bass" and not "Kit (association football)"', Both(DRUM, Not(KIT))),
        ('"dog"', DOG),
        ("dog and not not cat", Both(DOG, Not(Not(CAT)))),
        ("dog and(cat)", Both(DOG, CAT)),
    ],
)
def test_a_text_is_read_as_people_mean_it(text, wanted):
    assert parse(text, VOCABULARY) == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dog and", "its end"),
        ("and dog", "'and'"),
        ("dog or or cat", "'or'"),
        ("(dog and cat", "closing parenthesis"),
        ("dog and cat)", "the end"),
        ('dog and "cat', "quotes in pairs"),
        ("not dog", "not negated"),
        ("dog or not cat", "not negated"),
        ("dog and " + "not " * 40 + "cat", "nested"),
        ("(" * 40 + "dog and cat" + ")" * 40, "nested"),
    ],
)
def test_what_is_no_query_is_refused_and_says_where(text, message):
    with pytest.raises(InvalidInput, match=message) as refused:
        parse(text, VOCABULARY)
    assert refused.value.field == "tag"


def test_an_unknown_tag_is_named_among_the_others():
    with pytest.raises(UnknownTag) as refused:
        parse("dog and catt", VOCABULARY)
    assert (refused.value.tag, refused.value.nearest[0]) == ("catt", "Cat")


def test_more_tags_than_the_limit_are_refused():
    many = Vocabulary([Entry(number, f"t{number}") for number in range(20)])
    with pytest.raises(InvalidInput, match="17 tags"):
        parse(" or ".join(f"t{number}" for number in range(17)), many)
    assert len(tags_of(parse(" or ".join(f"t{number}" for number in range(16)), many))) == 16


def test_not_is_one_minus_the_probability():
    probabilities = np.array([0.001, 0.25, 0.5, 0.9])
    codes = encode_probabilities(probabilities).astype(np.int32)
    turned, _ = combine(Not(DOG), lambda _: (codes, codes))
    np.testing.assert_array_equal(turned, encode_probabilities(1 - probabilities))


def test_bounds_of_an_expression_hold_its_value_whatever_is_unknown():
    random = np.random.default_rng(0)
    exact = random.integers(0, HIGHEST + 1, (2, 500))
    least = np.maximum(exact - random.integers(0, 9_000, exact.shape), 0)
    most = np.minimum(exact + random.integers(0, 9_000, exact.shape), HIGHEST)
    asked = Either(Both(DOG, Not(CAT)), Not(Either(DOG, CAT)))
    lowest, highest = combine(asked, lambda ordinal: (least[ordinal], most[ordinal]))
    value, same = combine(asked, lambda ordinal: (exact[ordinal], exact[ordinal]))
    np.testing.assert_array_equal(value, same)
    assert ((lowest <= value) & (value <= highest)).all()
    assert (lowest < highest).any()
