"""`Idempotency-Key` over HTTP: a real server with a live store."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from segsearch.service.security.key_file import add_key
from segsearch.service.security.keys import Scope, make_key
from segsearch.service.settings import Settings
from tests.integration.test_rest_live import UPLOADS, npy
from tests.library_fixtures import serving
from tests.rest_bodies import problem

ONE, OTHER = npy(UPLOADS[0].frames), npy(UPLOADS[1].frames)


@pytest.fixture
def served(live):
    with serving(live, Settings(port=0)) as client:
        yield client


def upload(client, key, body=ONE, headers=None, **query):
    sent = {"content-type": "application/x-npy", "idempotency-key": key, **(headers or {})}
    params = {"video_id": "mine", "index": True, "top": 1, **query}
    return client.post("/score", params=params, content=body, headers=sent)


def test_an_upload_that_is_sent_again_gets_its_first_answer(served, live):
    first = upload(served, "k1")
    assert first.json()["stored"] == {"sequence": 1, "unchanged": False}
    upload(served, "k2", OTHER)  # the video is another one by now
    again = upload(served, "k1", headers={"accept-encoding": "gzip"})
    assert (again.status_code, again.content) == (200, first.content)
    assert live.view().sequence == 2  # and stays what it is


def test_a_deletion_that_is_sent_again_gets_its_first_answer_though_the_video_is_gone(served):
    upload(served, "k1")
    first = served.delete("/videos/mine", headers={"idempotency-key": "k2"})
    again = served.delete("/videos/mine", headers={"idempotency-key": "k2"})
    assert (first.status_code, again.status_code, again.content) == (200, 200, first.content)
    problem(served.delete("/videos/mine"), 404, "unknown-video")
    problem(served.delete("/videos/mine", headers={"idempotency-key": "k3"}), 404, "unknown-video")


@pytest.mark.parametrize("change", [{"body": OTHER}, {"video_id": "yours"}, {"top": 2}])
def test_a_key_with_another_request_is_refused(served, live, change):
    upload(served, "k1")
    assert problem(upload(served, "k1", **change), 422, "idempotency-key-reused").startswith("header.Idempotency-Key")
    problem(served.delete("/videos/mine", headers={"idempotency-key": "k1"}), 422, "idempotency-key-reused")
    assert live.view().sequence == 1


def test_what_was_refused_is_tried_again_with_the_same_key(served):
    problem(served.delete("/videos/mine", headers={"idempotency-key": "k1"}), 404, "unknown-video")
    upload(served, "k2")
    assert served.delete("/videos/mine", headers={"idempotency-key": "k1"}).status_code == 200


def test_scoring_alone_changes_nothing_and_needs_no_key(served):
    assert upload(served, "k1", index=False).json()["stored"] is None
    assert upload(served, "k1", OTHER, index=False).status_code == 200


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_that_cannot_be_is_named(served, key):
    assert "header.Idempotency-Key" in problem(upload(served, key), 422, "invalid-input")


def test_of_many_that_come_at_once_one_is_done_and_the_others_say_so_or_are_told_to_wait(served, live):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: upload(served, "k1"), range(24)))
    done = [answer.content for answer in answers if answer.status_code == 200]
    assert len(set(done)) == 1
    for answer in answers:
        if answer.status_code != 200:
            problem(answer, 409, "idempotency-key-busy")
            assert int(answer.headers["retry-after"]) >= 1
    assert live.view().sequence == 1


def test_one_clients_keys_mean_nothing_to_another(live, tmp_path: Path):
    keys = {}
    for name in ("anna", "ben"):
        keys[name], kept = make_key(name, Scope.write)
        add_key(tmp_path / "keys", kept)
    with serving(live, Settings(port=0, keys=tmp_path / "keys")) as client:
        first = upload(client, "k1", headers={"x-api-key": keys["anna"]})
        other = upload(client, "k1", OTHER, headers={"x-api-key": keys["ben"]})
        again = upload(client, "k1", headers={"x-api-key": keys["anna"]})
    assert (first.json()["stored"]["sequence"], other.json()["stored"]["sequence"]) == (1, 2)
    assert again.content == first.content


def test_another_process_and_one_after_a_restart_do_nothing_again_and_say_what_came_of_it(live):
    def over(client):
        later = upload(client, "k1")
        return later.json()["stored"], client.delete("/videos/mine", headers={"idempotency-key": "k2"})

    with serving(live, Settings(port=0)) as client:
        stored, deleted = over(client)
        upload(client, "k3", OTHER)
    with serving(live, Settings(port=0)) as client:  # remembers no answers
        again, deleted_again = over(client)
        problem(upload(client, "k1", OTHER), 422, "idempotency-key-reused")
        problem(client.delete("/videos/yours", headers={"idempotency-key": "k2"}), 422, "idempotency-key-reused")
    assert (again, deleted_again.content) == (stored, deleted.content)
    assert live.view().sequence == 3, "the last upload was neither replaced nor deleted"
