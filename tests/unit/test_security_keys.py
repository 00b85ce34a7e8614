"""API keys: how they are made, kept, found, replaced while a server runs, and slowed down."""

import json
import logging
import resource
import stat
import subprocess
import sys
import threading

import pytest
from typer.testing import CliRunner

from segsearch.core.errors import ConfigError, Forbidden, KeyFileRefused, RateLimited, Unauthorised
from segsearch.service.security.guard import Guard
from segsearch.service.security.key_file import KeyRing, add_key, read_keys
from segsearch.service.security.keys import Scope, digest_of, make_key
from segsearch.service.security.keys_cli import keys as command
from segsearch.service.security.rate_limit import RateLimit


@pytest.fixture
def file(tmp_path):
    return tmp_path / "keys"


def added(file, key_id: str, scope: Scope = Scope.read) -> str:
    """A new key in the file, as its owner has it."""
    key, kept = make_key(key_id, scope)
    add_key(file, kept)
    return key


def test_a_key_is_found_by_its_text_and_by_no_other(file):
    anna, bert = added(file, "anna"), added(file, "bert", Scope.admin)
    ring = KeyRing(file)
    assert [(found.id, found.scope) for found in map(ring.find, (anna, bert)) if found] == [
        ("anna", "read"), ("bert", "admin"),
    ]  # fmt: skip
    for wrong in (
        "",
        "x",
        anna[:-1],
        f"{anna}x",
        anna.upper(),
        anna.replace("anna", "bert"),
        "segsearch.anna.",
        "é" * 99,
    ):
        assert ring.find(wrong) is None


def test_a_key_of_nobody_is_not_found_by_the_digest_that_stands_for_nobody(file):
    added(file, "anna")
    assert KeyRing(file).find(f"segsearch.carl.{'0' * 43}") is None


def test_secrets_are_long_and_no_two_are_alike():
    keys = {make_key("anna", Scope.read)[0] for _ in range(100)}
    assert len(keys) == 100
    assert min(len(key.split(".")[2]) for key in keys) == 43  # 32 bytes in base64


def test_the_file_holds_no_key(file):
    key = added(file, "anna")
    assert key.split(".")[2] not in file.read_text()
    assert file.read_text() == f"anna read {digest_of(key)}\n"


def test_adding_keeps_comments_and_does_not_replace_a_key(file):
    file.write_text("# the web page\n")
    added(file, "anna")
    with pytest.raises(KeyFileRefused, match="key 'anna' is there already"):
        added(file, "anna")
    assert file.read_text().startswith("# the web page\nanna read ")


HEX = "0" * 64
BAD_FILES = {
    "too few": ("anna read", "line 1: 2 fields; wanted an id, a scope and a SHA-256"),
    "bad id": (f"Anna read {HEX}", "line 1: id 'Anna'; wanted 1 to 40 small letters"),
    "bad scope": (f"\n# x\nanna root {HEX}", "line 3: scope 'root'; wanted read, write, admin"),
    "a key itself": ("anna read segsearch.anna.secret", "something else than a SHA-256"),
    "twice": (f"anna read {HEX}\nanna admin {HEX}", "line 2: a second key 'anna'"),
    "no text": (b"\xff\xfe", "cannot be read"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_named_by_line_and_shows_no_secret(file, kind):
    text, wanted = BAD_FILES[kind]
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(KeyFileRefused, match="keys") as refused:
        read_keys(file)
    assert wanted in str(refused.value)
    assert "segsearch.anna.secret" not in str(refused.value)


def test_a_missing_file_is_refused_at_the_start(file):
    with pytest.raises(KeyFileRefused, match="FileNotFoundError"):
        KeyRing(file)


# Rotation


def test_a_key_that_is_added_or_taken_out_counts_at_the_next_request(file):
    anna = added(file, "anna")
    ring = KeyRing(file)
    bert = added(file, "bert")
    assert (ring.find(anna) is not None, ring.find(bert) is not None) == (True, True)
    file.write_text("".join(line for line in file.read_text().splitlines(True) if not line.startswith("anna")))
    assert (ring.find(anna) is not None, ring.find(bert) is not None) == (False, True)


@pytest.mark.parametrize("damage", ["rubbish", None])
def test_a_file_that_breaks_leaves_the_keys_as_they_were_and_says_so_once(file, damage, caplog):
    anna = added(file, "anna")
    ring = KeyRing(file)
    file.write_text(damage) if damage else file.unlink()
    with caplog.at_level(logging.INFO, "segsearch.service"):
        assert [ring.find(anna) is not None for _ in range(3)] == [True] * 3
    assert [json.loads(record.message)["event"] for record in caplog.records] == ["keys_refused"]
    assert anna not in caplog.text


def test_a_file_that_could_not_be_opened_for_a_moment_counts_as_soon_as_it_can_be(file, caplog):
    anna = added(file, "anna")
    ring = KeyRing(file)
    file.write_text("# anna has left\n")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with caplog.at_level(logging.INFO, "segsearch.service"):
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))  # as when all descriptors are taken
        try:
            found = [ring.find(anna) is not None for _ in range(3)]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert found == [True] * 3
        assert [ring.find(anna) for _ in range(2)] == [None, None]
    told = [json.loads(record.message) for record in caplog.records]
    assert [each["event"] for each in told] == ["keys_refused", "keys_read"]
    assert "OSError" in told[0]["reason"]


def test_a_file_that_goes_away_twice_is_complained_about_twice(file, caplog):
    added(file, "anna")
    ring = KeyRing(file)
    with caplog.at_level(logging.INFO, "segsearch.service"):
        for _ in range(2):
            file.rename(file.with_name("aside"))
            ring.find("x")
            file.with_name("aside").rename(file)
            file.write_text(file.read_text() + "# changed\n")
            ring.find("x")
    events = [json.loads(record.message)["event"] for record in caplog.records]
    assert events == ["keys_refused", "keys_read"] * 2


def test_a_file_may_be_replaced_while_many_threads_look_keys_up(file):
    anna = added(file, "anna")
    ring, found, stop = KeyRing(file), [], threading.Event()

    def look() -> None:
        while not stop.is_set():
            found.append(ring.find(anna) is not None)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(20):
        added(file, f"key-{number}")
    stop.set()
    for thread in threads:
        thread.join()
    assert set(found) == {True}


# Scopes and rates


@pytest.mark.parametrize(
    ("scope", "may"), [("read", ["read"]), ("write", ["read", "write"]), ("admin", ["read", "write", "admin"])]
)
def test_a_scope_includes_those_before_it(scope, may):
    assert [wanted for wanted in Scope if Scope(scope).includes(wanted)] == may


def test_a_guard_without_keys_lets_everybody_pass():
    guard = Guard()
    assert guard.identify(None) is None
    guard.admit(guard.identify("anything"), Scope.admin)


def test_a_guard_with_keys_says_why_it_does_not(file):
    added_key = added(file, "anna")
    guard = Guard(KeyRing(file))
    with pytest.raises(Unauthorised, match="no key"):
        guard.identify(None)
    with pytest.raises(Unauthorised, match="unknown key"):
        guard.identify("wrong")
    with pytest.raises(Forbidden, match="scope read, wanted admin"):
        guard.admit(guard.identify(added_key), Scope.admin)


def test_a_bucket_allows_a_burst_and_then_its_rate():
    now = [0.0]
    rate = RateLimit(2.0, 3, lambda: now[0])
    for _ in range(3):
        rate.spend("anna")
    with pytest.raises(RateLimited) as refused:
        rate.spend("anna")
    assert refused.value.retry_after_s == 1
    now[0] = 0.5
    rate.spend("anna")
    with pytest.raises(RateLimited):
        rate.spend("anna")


def test_one_key_does_not_spend_what_another_has():
    rate = RateLimit(1.0, 1, lambda: 0.0)
    rate.spend("anna")
    rate.spend("bert")


def test_processes_that_share_buckets_spend_from_one_each_key(tmp_path):
    code = (
        "import sys; from pathlib import Path; from segsearch.core.errors import RateLimited\n"
        "from segsearch.service.security.rate_limit import RateLimit\n"
        "from segsearch.service.security.shared_buckets import SharedBuckets\n"
        "rate, passed = RateLimit(0.001, 5, buckets=SharedBuckets(Path(sys.argv[1]))), 0\n"
        "for _ in range(4):\n"
        "    try: rate.spend('anna')\n"
        "    except RateLimited: continue\n"
        "    passed += 1\n"
        "rate.spend('bert')\n"
        "print(passed)\n"
    )
    spent = [subprocess.check_output([sys.executable, "-c", code, str(tmp_path)], timeout=60) for _ in range(3)]
    assert [int(each) for each in spent] == [4, 1, 0]


def test_a_bucket_never_holds_more_than_its_burst_nor_loses_by_a_clock_that_goes_back():
    now = [1e6]
    rate = RateLimit(0.1, 2, lambda: now[0])
    rate.spend("anna")
    for now[0] in (0.0, 1e9):
        pass
    rate.spend("anna")
    rate.spend("anna")
    with pytest.raises(RateLimited) as refused:
        rate.spend("anna")
    assert refused.value.retry_after_s == 10


# The command


def run(*arguments: object):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_new_shows_the_key_once_and_list_shows_none(file):
    made = json.loads(run("new", "anna", "--keys", file, "--scope", "write").stdout)
    assert (made["id"], made["scope"]) == ("anna", "write")
    found = KeyRing(file).find(made["key"])
    assert found is not None
    assert found.scope is Scope.write
    listed = run("list", "--keys", file).stdout
    assert json.loads(listed) == {"id": "anna", "scope": "write"}
    assert "segsearch." not in listed


def test_new_refuses_an_id_that_would_break_the_file(file):
    assert isinstance(run("new", "a b", "--keys", file, "--scope", "read").exception, ConfigError)
    assert not file.exists()


def test_new_wants_a_scope(file):
    assert run("new", "anna", "--keys", file).exit_code == 2


def test_the_file_is_nobody_elses(file):
    added(file, "anna")
    assert stat.S_IMODE(file.stat().st_mode) & 0o022 == 0
