"""Every error as a problem document: none is without a row, and none tells more than it may."""

import socket

import numpy as np
import pytest

from segsearch.core import errors
from segsearch.service.error_rows import TABLE
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.library import SegmentLibrary
from segsearch.service.server import bind
from segsearch.service.settings import Settings
from tests.library_fixtures import serving
from tests.rest_bodies import json_of, problem


def subclasses(kind: type) -> set[type]:
    return {kind}.union(*map(subclasses, kind.__subclasses__()))


def test_every_error_has_its_row():
    ours = {kind for kind in subclasses(errors.SegsearchError) if kind.__module__.startswith(errors.__name__ + ".")}
    assert ours == set(TABLE)


def test_every_problem_type_has_its_page(client):
    codes = {kind.code for kind in TABLE} | {"not-found", "method-not-allowed", "bad-request"}
    assert {client.get(f"/problems/{code}").status_code for code in codes} == {200}
    problem(client.get("/problems/nothing"), 404, "not-found")


def test_without_a_generation_only_searching_is_unavailable(tmp_path, scorer):
    with serving(SegmentLibrary(scorer, IndexDirectory(tmp_path))) as client:
        for path in ("/readyz", "/search?tag=Rain", "/tags"):
            assert str(tmp_path) not in problem(client.get(path), 503, "no-generation")
        assert client.get("/livez").status_code == 200
        assert client.post("/score", json=json_of()).status_code == 200


class BrokenScorer:
    """A scorer whose model stops working: a bug, or a model that gives NaN."""

    def __init__(self, scorer, error: Exception):
        self.bundle, self.provider, self.error = scorer.bundle, scorer.provider, error

    def score(self, _: np.ndarray):
        raise self.error

    def codes(self, _):
        raise self.error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("secret /etc/passwd"), "internal"),
        (errors.BundleRefused("/secret/etc/passwd", "NaN"), "bundle-refused"),
    ],
)
def test_what_breaks_inside_is_a_bare_500_with_an_incident_id(tmp_path, scorer, error, code, caplog):
    with serving(SegmentLibrary(BrokenScorer(scorer, error), IndexDirectory(tmp_path))) as client:
        answer = client.post("/score", json=json_of())
    problem(answer, 500, code)
    assert "passwd" not in answer.text
    assert answer.json()["incident"] in caplog.text
    assert "passwd" in caplog.text


def test_what_follows_an_answers_head_does_not_wait_for_the_clients_acknowledgement():
    with bind(Settings(port=0)) as listening:
        assert listening.proto == socket.IPPROTO_TCP  # by which asyncio knows where to set TCP_NODELAY


def test_settings_that_cannot_work_are_named():
    with pytest.raises(errors.ConfigError, match="frame_limit is 0"):
        Settings(frame_limit=0)
