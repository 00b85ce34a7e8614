"""Errors as `google.rpc.Status`: the twin of the problem documents."""

from pathlib import Path

import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from segsearch.core import errors
from segsearch.core.errors import SegsearchError
from segsearch.service.error_rows import TABLE
from segsearch.service.rpc.status import STATUS, code_of, rich_status

EVERY = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SegsearchError)]


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_every_error_has_a_row_at_both_edges(kind):
    assert kind in TABLE
    assert kind in STATUS


def test_no_row_is_of_an_error_that_is_gone():
    assert set(STATUS) == set(EVERY) == set(TABLE)


def test_what_is_a_bug_or_ours_to_repair_is_so_at_both_edges():
    internal = {kind for kind, row in TABLE.items() if row.status == 500}
    assert internal == {kind for kind, code in STATUS.items() if code.name == "INTERNAL"}


def test_an_error_below_a_listed_one_has_its_row():
    class Fuller(errors.StorageFull):
        """Somebody's new error."""

    assert code_of(Fuller(Path("x"), "full")) is STATUS[errors.StorageFull]


def test_the_longest_status_fits_the_trailers_that_clients_take():
    """Eight kilobytes, of which the text takes three times its bytes, and the message a third more than its own."""
    wide = "\U0001f600" * 5_000
    for error in (errors.InvalidInput(wide, wide, wide), errors.UnknownTag(wide, [wide] * 9)):
        status = rich_status(error, None, None)
        assert 3 * len(status.message.encode()) + 4 / 3 * status.ByteSize() < 8_000


def test_an_error_that_must_not_be_shown_is_a_sentence_and_an_incident():
    status = rich_status(errors.GenerationCorrupt(Path("/secret"), "torn"), "Damaged.", "abc")
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (status.message, info.reason, dict(info.metadata)) == ("Damaged.", "generation-corrupt", {"incident": "abc"})


def test_a_field_at_fault_is_named_for_machines():
    status: Status = rich_status(errors.InvalidInput("k", "0", "1 to 5"), None, None)
    bad = BadRequest()
    assert status.details[1].Unpack(bad)
    assert [fault.field for fault in bad.field_violations] == ["k"]
