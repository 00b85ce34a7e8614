"""What the clients do when a server refuses, hangs up, hangs or lies: a server of the test's own, on a socket."""

import re
import ssl
import time

import numpy as np
import pytest

from segsearch.client import Retries, Upload
from segsearch.core.errors import (
    IndexBusy,
    InvalidInput,
    NoGeneration,
    QueueFull,
    RateLimited,
    ServiceRefused,
    ServiceTooSlow,
    ServiceUnreachable,
)
from tests.asking import both
from tests.integration.test_serving_security import Authority
from tests.scripted_server import DRIP, DRIP_HEAD, DROP, HANG, STALL, answer, problem, scripted

SOON = {"retries": Retries(first_s=0.01, longest_s=0.01)}
GOOD = answer(200, {"serving": 1, "numbers": [1]})
STORED = answer(200, {"sequence": 1, "unchanged": False})
BUSY = problem(503, "queue-full")
BUNDLE = {"name": "n", "version": 1, "digest": ""}
SCORED = answer(200, {"video": "v", "frames": 1, "stored": None, "segments": [], "bundle": BUNDLE})
FRAMES = np.arange(36, dtype=np.uint8).reshape(3, 12)


def key_in(head):
    """The idempotency key of a request's head; None where it has none."""
    found = re.search(rb"\r\nidempotency-key: (\S+)", head, re.IGNORECASE)
    return found and found[1]


@both
@pytest.mark.parametrize(
    "word", [BUSY, answer(503, b"<h1>", "text/html"), DROP, problem(429, "rate-limited", Retry_After="0")]
)
def test_what_is_unavailable_is_asked_again(ask, word):
    with scripted(word, word, GOOD) as server:
        assert ask(server.url, "generations", client=SOON).serving == 1
    assert server.connections == 3


@both
def test_a_server_that_stays_unavailable_is_asked_as_often_as_was_set(ask):
    with scripted(BUSY) as server, pytest.raises(QueueFull, match="so it is"):
        ask(server.url, "generations", client={"retries": Retries(attempts=3, first_s=0.0, longest_s=0.0)})
    assert server.connections == 3


@both
@pytest.mark.parametrize(
    ("word", "kind"),
    [
        (problem(429, "rate-limited"), RateLimited),
        (problem(422, "invalid-input"), InvalidInput),
        (problem(404, "no-such-thing"), ServiceRefused),
        (problem(500, "internal"), ServiceRefused),
        (answer(502, b"<h1>Bad gateway</h1>", "text/html"), ServiceRefused),
        (answer(504, b"", "text/html"), ServiceRefused),
        (answer(302, b"", Location="http://127.0.0.1:1/elsewhere"), ServiceRefused),
        (answer(200, b"<h1>Welcome</h1>", "text/html"), ServiceRefused),
        (answer(200, {"other": "thing"}), ServiceRefused),
        (answer(200, [1, 2]), ServiceRefused),
    ],
)
def test_any_other_answer_is_the_last_word(ask, word, kind):
    with scripted(word) as server, pytest.raises(kind):
        ask(server.url, "generations", client=SOON)
    assert server.connections == 1


@both
@pytest.mark.parametrize(
    "word", [problem(503, "no-generation", Retry_After="60"), problem(429, "rate-limited", Retry_After="60")]
)
def test_a_wait_that_the_call_has_no_time_for_is_not_begun(ask, word):
    with scripted(word) as server, pytest.raises((NoGeneration, RateLimited)):
        ask(server.url, "generations", client={"timeout_s": 30.0})
    assert server.connections == 1


@both
@pytest.mark.parametrize(
    ("method", "arguments", "word"),
    [
        ("delete", ("v",), BUSY),
        ("delete", ("v",), DROP),
        ("delete", ("v",), problem(409, "idempotency-key-busy", Retry_After="0")),
        ("score", (FRAMES,), BUSY),
        ("score", (FRAMES,), DROP),
    ],
    ids=["busy delete", "lost delete", "delete under way", "busy score", "lost score"],
)
def test_what_changes_nothing_the_second_time_is_asked_again(ask, method, arguments, word):
    with scripted(word, STORED if method == "delete" else SCORED) as server:
        ask(server.url, method, *arguments, client=SOON)
    assert server.connections == 2


@both
@pytest.mark.parametrize(
    ("method", "arguments", "word", "kind"),
    [
        ("activate", (1,), DROP, ServiceUnreachable),
        ("activate", (1,), BUSY, QueueFull),
        ("delete", ("v",), problem(409, "index-busy"), IndexBusy),
    ],
    ids=["lost activate", "busy activate", "delete in conflict"],
)
def test_what_may_have_been_done_is_not_asked_again_where_that_tells_something_else(ask, method, arguments, word, kind):
    with scripted(word) as server, pytest.raises(kind):
        ask(server.url, method, *arguments, client=SOON)
    assert server.connections == 1


@both
def test_a_body_is_sent_whole_each_time(ask):
    with scripted(BUSY, DROP, SCORED) as server:
        assert ask(server.url, "score", FRAMES, video_id="v", index=True, client=SOON).video_id == "v"
    heads, bodies = zip(*server.requests, strict=True)
    assert len(set(bodies)) == 1
    assert bodies[0].endswith(FRAMES.tobytes())
    assert all(b"POST /score?video_id=v&top=20&index=true HTTP/1.1" in head for head in heads)
    assert len({key_in(head) for head in heads}) == 1, "so that it is stored once"


@both
def test_each_change_has_a_key_of_its_own(ask):
    with scripted(SCORED, STORED, STORED, SCORED, GOOD) as server:
        ask(server.url, "score", FRAMES, video_id="v", index=True, client=SOON)
        for _ in range(2):
            ask(server.url, "delete", "v", client=SOON)
        ask(server.url, "score", FRAMES, client=SOON)
        ask(server.url, "generations", client=SOON)
    keys = [key_in(head) for head, _ in server.requests]
    assert len(set(keys[:3]) - {None}) == 3
    assert keys[3:] == [None, None], "they change nothing"


@both
def test_a_server_that_is_not_there_yet_is_waited_for(ask):
    with scripted(STORED, late_s=0.3) as server:
        client = {"retries": Retries(attempts=100, first_s=0.1, longest_s=0.1)}
        assert ask(server.url, "delete", "v", client=client | {"timeout_s": 15.0}).sequence == 1
    assert server.connections == 1


@both
def test_a_server_that_is_not_there_is_unreachable(ask):
    with scripted(GOOD, late_s=15.0) as server, pytest.raises(ServiceUnreachable, match=server.url):
        ask(server.url, "generations", client=SOON)


@both
@pytest.mark.parametrize("word", [HANG, DRIP, DRIP_HEAD])
def test_a_server_that_does_not_finish_is_too_slow_and_not_asked_again(ask, word):
    with scripted(word) as server, pytest.raises(ServiceTooSlow, match=r"within 0\.4 s"):
        ask(server.url, "generations", client=SOON | {"timeout_s": 0.4})
    assert server.connections == 1


def slow_upload(wait_s, size_bytes):
    """A body that comes in two pieces."""

    def chunks():
        yield b"x"
        time.sleep(wait_s)
        yield bytes(size_bytes - 1)

    return Upload("application/x-npy", size_bytes, chunks, "v")


@both
@pytest.mark.parametrize(("word", "size_bytes"), [(HANG, 100), (STALL, 32 << 20)], ids=["answer", "upload"])
def test_time_that_an_upload_took_is_not_there_for_what_comes_after_it(ask, word, size_bytes):
    began_s = time.monotonic()
    with scripted(word) as server, pytest.raises(ServiceTooSlow, match="within 1 s"):
        ask(server.url, "score", slow_upload(0.9, size_bytes), client=SOON | {"timeout_s": 1.0})
    assert time.monotonic() - began_s < 1.7


@both
def test_a_server_that_speaks_something_else_is_unreachable(ask):
    with scripted(b"220 smtp.example ESMTP\r\n") as server, pytest.raises(ServiceUnreachable):
        ask(server.url, "generations", client=SOON)


@both
@pytest.mark.parametrize("came", [b"only so much", b"more than it was" * 9], ids=["shorter", "longer"])
def test_a_file_that_changes_while_it_is_sent_ends_the_call(ask, came):
    upload = Upload("application/x-npy", 100, lambda: iter([came]), "v")
    with scripted(SCORED) as server, pytest.raises(InvalidInput, match="100, as at the beginning"):
        ask(server.url, "score", upload, client=SOON)
    assert server.connections == 1


@both
def test_a_key_goes_to_the_service_and_nowhere_else(ask):
    with scripted(GOOD) as elsewhere:
        there = answer(307, b"", Location=f"{elsewhere.url}/generations")
        with scripted(there) as server, pytest.raises(ServiceRefused):
            ask(server.url, "generations", client={"key": "segsearch.anna.secret"})
        assert b"authorization: bearer segsearch.anna.secret" in server.requests[0][0].lower()
    assert elsewhere.connections == 0


@both
def test_a_certificate_that_is_not_trusted_ends_the_call_and_one_that_is_does_not(ask, tmp_path):
    authority = Authority(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*authority.issue("server"))
    with scripted(GOOD, tls=tls) as server:
        with pytest.raises(ServiceUnreachable, match="certificate"):
            ask(server.url, "generations", client=SOON)
        assert server.connections == 1
        assert ask(server.url, "generations", client={"verify": authority.file}).serving == 1
