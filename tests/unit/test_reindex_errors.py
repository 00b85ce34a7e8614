"""Errors cross from a worker to who waits for it."""

import pickle
from pathlib import Path

import pytest

from segsearch.core.errors import BadShard, ConfigError, GoldenMismatch, UnknownTag

ERRORS = [
    BadShard(Path("a.tfrecord"), 9, "payload", "file ends", "more", unread_bytes=17),
    ConfigError("keep", 0, "1 to 9"),
    GoldenMismatch(Path("bundle"), 3, 0.5, 0.1),
    UnknownTag("kitten", ["cat"]),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
def test_an_error_arrives_with_its_message_and_facts(error):
    arrived = pickle.loads(pickle.dumps(error))
    assert (type(arrived), str(arrived), vars(arrived)) == (type(error), str(error), vars(error))
