"""What web sites can have a browser ask of a server, over a real socket: nothing that changes it, and without keys
nothing at all under a name of theirs.
"""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from segsearch.service.settings import Settings
from tests.library_fixtures import serving
from tests.rest_bodies import problem

ELSEWHERE = "https://elsewhere.example"
ACTIVATE = "/generations/1:activate"


@pytest.fixture(scope="module")
def client(served_library) -> Iterator[httpx.Client]:
    """Of a server without keys, that only its own machine reaches."""
    with serving(served_library, Settings(port=0)) as opened:
        yield opened


@pytest.fixture(scope="module")
def keyed(served_library, keys) -> Iterator[httpx.Client]:
    """Of a server with keys, and one that may do everything."""
    with serving(served_library, Settings(port=0, keys=Path(keys["file"]))) as opened:
        opened.headers["x-api-key"] = keys["admin"]
        yield opened


def own(client: httpx.Client) -> str:
    return f"{client.base_url.host}:{client.base_url.port}"


@pytest.mark.parametrize("host", ["localhost", "LocalHost:8000", "127.0.0.1", "127.8.9.1:80", "[::1]", "[::1]:65535"])
def test_a_server_without_keys_answers_to_names_of_its_machine(client, host):
    assert client.get("/search?tag=Rain", headers={"host": host}).status_code == 200
    assert client.post(ACTIVATE, headers={"host": host}).status_code == 200


OTHERS = (
    "elsewhere.example", "elsewhere.example:8000", "x", "localhost.elsewhere.example", "127.0.0.1.elsewhere.example",
    "elsewhere.example@127.0.0.1", "127.0.0.1:x", "127.0.0.1, elsewhere.example", "0.0.0.0", "10.0.0.1", "[::2]", "[",
    "",
)  # fmt: skip


@pytest.mark.parametrize("host", OTHERS)
def test_and_to_no_other_name_whatever_is_asked(client, host):
    for path in ("/search?tag=Rain", "/livez", "/metrics", "/nowhere", "/openapi.json"):
        problem(client.get(path, headers={"host": host}), 403, "cross-site")
    origin = {"origin": f"http://{host}", "sec-fetch-site": "same-origin"}
    problem(client.post(ACTIVATE, headers={"host": host, **origin}), 403, "cross-site")


@pytest.mark.parametrize("host", OTHERS)
def test_with_keys_the_server_s_names_are_nobody_s_business(keyed, host):
    assert keyed.get("/search?tag=Rain", headers={"host": host}).status_code == 200
    problem(keyed.get("/search?tag=nothing", headers={"host": host}), 404, "unknown-tag")


FOREIGN = {
    "another site": {"origin": ELSEWHERE},
    "no site that can be named": {"origin": "null"},
    "another server of this machine": {"origin": "http://127.0.0.1:1"},
    "no origin at all": {"origin": ""},
    "several": {"origin": f"http://127.0.0.1, {ELSEWHERE}"},
    "a browser that names another site": {"sec-fetch-site": "cross-site"},
    "a browser that names a neighbour": {"sec-fetch-site": "same-site"},
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_another_site_sends_changes_nothing(client, keyed, kind):
    for each in (client, keyed):
        for method, path in (("POST", ACTIVATE), ("POST", "/score"), ("DELETE", "/videos/v001"), ("PUT", "/nowhere")):
            answer = each.request(method, path, content=bytes(100_000), headers=FOREIGN[kind])
            problem(answer, 403, "cross-site")


def test_what_a_page_of_the_server_s_own_sends_is_answered(client, keyed):
    for each in (client, keyed):
        for site in ({}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}):
            assert each.post(ACTIVATE, headers={"origin": f"http://{own(each)}", **site}).status_code == 200
    public = {"host": "Search.example", "origin": "https://search.example"}  # behind a proxy that speaks TLS
    assert keyed.post(ACTIVATE, headers=public).status_code == 200


def test_what_changes_nothing_is_answered_and_not_shown_to_another_site(client):
    answer = client.get("/search?tag=Rain", headers={"origin": ELSEWHERE, "sec-fetch-site": "cross-site"})
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_what_is_refused_is_counted(client):
    def refused() -> float:
        lines = client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if 'refusals_total{reason="cross-site"}' in line)

    before = refused()
    client.post(ACTIVATE, headers={"origin": ELSEWHERE})
    client.get("/livez", headers={"host": "elsewhere.example"})
    assert refused() == before + 2


def test_openapi_says_so_of_every_operation(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert all("403" in operation["responses"] for path in paths.values() for operation in path.values())
