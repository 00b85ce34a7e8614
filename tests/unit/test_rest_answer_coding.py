"""Which compression an answer gets."""

import pytest

from segsearch.service.rest.answer_coding import WORTHWHILE_BYTES, best_coding, encoded


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("", None),
        ("identity", None),
        ("br", None),
        ("*", None),  # allows anything and asks for nothing
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("GZIP ; q=1", "gzip"),
        ("zstd;q=0.1, gzip;q=0.5", "gzip"),
        ("zstd;q=0, gzip;q=0", None),
        ("zstd;q=nan", None),
        ("gzip;q=much", None),
        ("zstd;level=3", None),
        (",;,=;q", None),
    ],
)
def test_the_client_weighs_and_of_equals_zstd_is_taken(accept, coding):
    assert best_coding(accept) == coding


def test_a_short_answer_stays_as_it_is_and_says_on_what_it_depends():
    short = bytes(WORTHWHILE_BYTES - 1)
    assert encoded(short, "gzip") == (short, {"Vary": "Accept-Encoding"})


def test_the_same_answer_has_the_same_bytes():
    assert encoded(bytes(5000), "gzip") == encoded(bytes(5000), "gzip")
