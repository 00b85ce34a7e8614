"""Who may do what, route by route, over a real server: no key, a wrong one, and one of each scope."""

import asyncio
import json
import logging
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.jobs.reindex_process import ReindexJobs
from segsearch.service.library import SegmentLibrary
from segsearch.service.rest.access import check_routes
from segsearch.service.rest.app import build_api
from segsearch.service.rest.exchange import Exchanges
from segsearch.service.rest.metrics import Metrics
from segsearch.service.scoring.bundle_folder import BundleFolder
from segsearch.service.security.key_file import add_key
from segsearch.service.security.keys import Scope, make_key
from segsearch.service.settings import Settings
from tests.hostile_bodies import JSON, NPY, npy_of
from tests.integration.test_model_reload import open_scorer
from tests.library_fixtures import serving
from tests.tiny_model import SPEC

BODY = npy_of(np.zeros((3, SPEC.size), np.uint8))
FRAMES = {"name": "frames", "datatype": "UINT8", "shape": [1, SPEC.size], "data": [0] * SPEC.size}
BODIES = {"score": (BODY, NPY), "similar": (BODY, NPY), "infer": (json.dumps({"inputs": [FRAMES]}).encode(), JSON)}
# Every route with what it asks of a key (None: no key) and a request that succeeds. A route that is added to the
# application and not here fails `test_no_route_is_missing_here`.
ROUTES: dict[tuple[str, str], tuple[str | None, str]] = {
    ("GET", "/search"): ("read", "/search?tag=Rain"),
    ("POST", "/score"): ("write", "/score"),
    ("POST", "/similar"): ("read", "/similar"),
    ("GET", "/tags"): ("read", "/tags"),
    ("GET", "/generations"): ("read", "/generations"),
    ("GET", "/generations/compare"): ("read", "/generations/compare?a=1&b=1"),
    ("POST", "/generations/{number}:activate"): ("admin", "/generations/1:activate"),
    ("GET", "/models"): ("read", "/models"),
    ("POST", "/models:load"): ("admin", "/models:load"),
    ("POST", "/reindex"): ("admin", "/reindex"),
    ("GET", "/jobs/{job_id:job}"): ("read", "/jobs/x"),
    ("POST", "/jobs/{job_id:job}:cancel"): ("admin", "/jobs/x:cancel"),
    ("GET", "/videos/{video_id:path}"): ("read", "/videos/v001?tag=Rain"),
    ("DELETE", "/videos/{video_id:path}"): ("write", "/videos/v001"),
    ("GET", "/metrics"): ("read", "/metrics"),
    ("GET", "/v2"): (None, "/v2"),
    ("GET", "/v2/health/live"): (None, "/v2/health/live"),
    ("GET", "/v2/health/ready"): (None, "/v2/health/ready"),
    ("GET", "/v2/models/{name}"): ("read", "/v2/models/tiny"),
    ("GET", "/v2/models/{name}/ready"): (None, "/v2/models/tiny/ready"),
    ("POST", "/v2/models/{name}/infer"): ("write", "/v2/models/tiny/infer"),
    ("GET", "/v2/models/{name}/versions/{version}"): ("read", "/v2/models/tiny/versions/1"),
    ("GET", "/v2/models/{name}/versions/{version}/ready"): (None, "/v2/models/tiny/versions/1/ready"),
    ("POST", "/v2/models/{name}/versions/{version}/infer"): ("write", "/v2/models/tiny/versions/1/infer"),
    ("GET", "/livez"): (None, "/livez"),
    ("GET", "/readyz"): (None, "/readyz"),
    ("GET", "/problems/{code}"): (None, "/problems/unknown-tag"),
    ("GET", "/openapi.json"): (None, "/openapi.json"),
}
NOT_HERE = {  # this server only searches, and is told of no folders: 409
    ("DELETE", "/videos/{video_id:path}"),
    ("POST", "/models:load"),
    ("POST", "/reindex"),
    ("GET", "/jobs/{job_id:job}"),
    ("POST", "/jobs/{job_id:job}:cancel"),
}
CALLERS = ("none", "wrong", "read", "write", "admin")


@pytest.fixture(scope="module")
def client(served_library, keys) -> Iterator[httpx.Client]:
    with serving(served_library, Settings(port=0, keys=Path(keys["file"]))) as opened:
        yield opened


def asked(client: httpx.Client, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    content, kind = BODIES.get(path.rpartition("/")[2], (None, NPY))
    return client.request(method, path, content=content, headers={"content-type": kind, **headers})


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def wanted_status(method: str, route: str, caller: str) -> int:
    scope, let_in = ROUTES[method, route][0], 409 if (method, route) in NOT_HERE else 200
    if scope is None:
        return let_in
    if caller in ("none", "wrong"):
        return 401
    order = ["read", "write", "admin"]
    return let_in if order.index(caller) >= order.index(scope) else 403


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize(("method", "route"), ROUTES)
def test_each_caller_gets_what_the_route_allows(client, keys, method, route, caller):
    path = ROUTES[method, route][1]
    answer = asked(client, method, path, bearer(keys[caller]) if caller != "none" else {})
    assert answer.status_code == wanted_status(method, route, caller), answer.text
    if answer.status_code == 401:
        assert answer.json()["type"] == "/problems/unauthorised"
        assert answer.headers["www-authenticate"].startswith("Bearer")
    if answer.status_code == 403:
        assert answer.json()["type"] == "/problems/forbidden"
    assert all(keys[name] not in answer.text for name in ("wrong", "read", "write", "admin"))


def api(library: SegmentLibrary) -> FastAPI:
    return build_api(library, Settings(port=0), Metrics(library))


def test_no_route_is_missing_here(served_library):
    found = {(method, route.path) for route in api(served_library).routes for method in route.methods}
    assert found == set(ROUTES)


def test_an_application_with_a_route_that_names_no_scope_is_not_built(served_library):
    app = api(served_library)

    @app.get("/forgotten")
    def forgotten() -> None:
        """Somebody's new route."""

    with pytest.raises(LookupError, match=r"'/forgotten' names 0 scopes"):
        check_routes(app)


def test_openapi_says_what_needs_a_key(client):
    paths = client.get("/openapi.json").json()["paths"]
    secured = {(method.upper(), path) for path, ops in paths.items() for method, op in ops.items() if "security" in op}
    assert secured == {(method, re.sub(r":\w+}", "}", path)) for (method, path), (scope, _) in ROUTES.items() if scope}
    assert {"401", "403", "429"} <= set(paths["/search"]["get"]["responses"])
    assert {} not in paths["/search"]["get"]["security"]


def test_openapi_says_that_a_server_without_keys_takes_requests_without_one(served_library):
    assert {} in api(served_library).openapi()["paths"]["/search"]["get"]["security"]


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Basic cmVhZDpyZWFk"},
        {"authorization": "Bearer"},
        {"authorization": ""},
        {"x-api-key": ""},
        {"x-api-key": "segsearch.read." + "\xff" * 20},
        {"x-api-key": "x" * 9_000},
        {"authorization": "Bearer segsearch.read.0"},
    ],
)
def test_a_header_that_is_no_key_is_unauthorised(client, headers):
    sent = {name: value.encode("latin-1") for name, value in headers.items()}
    answer = client.get("/tags", headers=sent)
    assert (answer.status_code, answer.json()["type"]) == (401, "/problems/unauthorised")


def test_a_key_may_come_in_either_header_but_not_in_both(client, keys):
    assert client.get("/tags", headers={"x-api-key": keys["read"]}).status_code == 200
    assert client.get("/tags", headers={"authorization": f"bearer {keys['read']}"}).status_code == 200
    answer = client.get("/tags", headers={"x-api-key": keys["read"], **bearer(keys["admin"])})
    assert "2 keys" in answer.json()["detail"]


def test_a_key_in_the_query_is_none(client, keys):
    assert client.get("/tags", params={"api_key": keys["read"]}).status_code == 401


def test_without_a_key_a_body_is_not_read(client):
    """The client announces more than it may, and sends nothing: the refusal is about the key, and comes at once."""
    answer = client.post("/score", content=bytes(10_000_000), headers={"content-type": NPY})
    assert answer.status_code == 401


def test_paths_that_lead_around_a_route_lead_nowhere(client):
    for path in (
        "//search?tag=Rain",
        "/search/?tag=Rain",
        "/%2e%2e/search",
        "/SEARCH?tag=Rain",
        "/tags%00",
        "/livez/../tags",
    ):
        assert client.get(path, follow_redirects=False).status_code in (401, 404, 307), path


def test_a_key_that_is_taken_out_is_refused_from_then_on(served_library, tmp_path):
    key, kept = make_key("anna", Scope.read)
    add_key(tmp_path / "keys", kept)
    with serving(served_library, Settings(port=0, keys=tmp_path / "keys")) as client:
        assert client.get("/tags", headers=bearer(key)).status_code == 200
        (tmp_path / "keys").write_text("# nobody\n")
        assert client.get("/tags", headers=bearer(key)).status_code == 401
        add_key(tmp_path / "keys", kept)
        assert client.get("/tags", headers=bearer(key)).status_code == 200


def test_a_key_that_asks_too_often_is_told_when_to_come_back(served_library, keys):
    settings = Settings(port=0, keys=Path(keys["file"]), rate_per_s=0.1, rate_burst=3)
    with serving(served_library, settings) as client:
        statuses = [client.get("/tags", headers=bearer(keys["read"])).status_code for _ in range(4)]
        refused = client.get("/tags", headers=bearer(keys["read"]))
        assert statuses == [200, 200, 200, 429]
        assert refused.json()["type"] == "/problems/rate-limited"
        assert 1 <= int(refused.headers["retry-after"]) <= 10
        assert client.get("/tags", headers=bearer(keys["write"])).status_code == 200
        assert client.get("/livez").status_code == 200


def test_no_answer_invites_other_origins(client, keys):
    origin = {"origin": "https://elsewhere.example", "access-control-request-method": "POST"}
    for answer in (
        client.options("/score", headers=origin),
        client.get("/tags", headers={**origin, **bearer(keys["read"])}),
    ):
        assert [name for name in answer.headers if name.startswith("access-control")] == []


# Request ids and the audit trail


def events(caplog, event: str) -> list[dict[str, object]]:
    lines = [json.loads(record.message) for record in caplog.records if record.name == "segsearch.service"]
    return [line for line in lines if line["event"] == event]


def test_every_answer_has_a_request_id_and_the_callers_is_kept_where_it_is_plain(client):
    own = secrets.token_hex(4)
    assert client.get("/livez", headers={"x-request-id": own}).headers["x-request-id"] == own
    given = [client.get(path).headers["x-request-id"] for path in ("/livez", "/livez", "/nowhere", "/tags")]
    assert len(set(given)) == 4
    assert all(len(found) == 16 for found in given)
    odd = client.get("/livez", headers={"x-request-id": 'a"b {}'}).headers["x-request-id"]
    assert len(odd) == 16


def test_an_admin_action_leaves_one_line_with_key_and_request(client, keys, caplog):
    with caplog.at_level(logging.INFO, "segsearch.service"):
        done = client.post("/generations/1:activate", headers={**bearer(keys["admin"]), "x-request-id": "r-1"})
        refused = client.post("/generations/1:activate", headers={**bearer(keys["read"]), "x-request-id": "r-2"})
        nobody = client.post("/generations/1:activate", headers={"x-request-id": "r-3"})
        client.get("/tags", headers=bearer(keys["admin"]))
    assert (done.status_code, refused.status_code, nobody.status_code) == (200, 403, 401)
    assert [
        (line["request"], line["key"], line["status"], line["path"]) for line in events(caplog, "admin_action")
    ] == [
        ("r-1", "admin", 200, "/generations/1:activate"),
        ("r-2", "read", 403, "/generations/1:activate"),
        ("r-3", None, 401, "/generations/1:activate"),
    ]
    assert all(keys[scope].split(".")[2] not in caplog.text for scope in Scope)


def test_it_says_what_a_body_asked_for_once_that_is_read(scorer, index, keys, caplog, tmp_path):
    library = SegmentLibrary(
        scorer, index, bundles=BundleFolder(tmp_path, open_scorer), jobs=ReindexJobs(index, tmp_path)
    )
    wish = {"shards": ["a*", "b*"], "bundle": "dbof/3"}
    bodies = (("/models:load", {"path": "nowhere"}), ("/models:load", {"path": "../x"}), ("/reindex", wish))
    with (
        serving(library, Settings(port=0, keys=Path(keys["file"]))) as client,
        caplog.at_level(logging.INFO, "segsearch.service"),
    ):
        for path, body in bodies:
            for scope in ("admin", "read"):
                client.post(path, json=body, headers=bearer(keys[scope]))
        client.post("/models:load", json={"path": 5}, headers=bearer(keys["admin"]))
    told = [(line["path"], line["status"], line.get("asked")) for line in events(caplog, "admin_action")]
    assert told == [
        ("/models:load", 422, {"path": "nowhere"}), ("/models:load", 403, None),
        ("/models:load", 422, {"path": "../x"}), ("/models:load", 403, None),
        ("/reindex", 422, {**wish, "skip_bad": False}), ("/reindex", 403, None),
        ("/models:load", 422, None),
    ]  # fmt: skip


def test_a_deletion_leaves_one_too_whatever_becomes_of_it(client, keys, caplog):
    other = {**bearer(keys["write"]), "origin": "https://elsewhere.example"}
    with caplog.at_level(logging.INFO, "segsearch.service"):
        for headers in (bearer(keys["write"]), bearer(keys["read"]), other):
            client.delete("/videos/v001", headers=headers)
    lines = events(caplog, "admin_action")
    assert [(line["key"], line["status"]) for line in lines] == [("write", 409), ("read", 403), (None, 403)]
    assert {(line["method"], line["path"]) for line in lines} == {("DELETE", "/videos/v001")}


def test_whoever_has_the_answer_can_count_on_its_line(served_library, caplog):
    async def app(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 204})

    told_before = []

    async def send(_message):
        told_before.append([line["status"] for line in events(caplog, "admin_action")])

    scope = {"type": "http", "method": "DELETE", "path": "/videos/v001", "headers": []}
    with caplog.at_level(logging.INFO, "segsearch.service"):
        asyncio.run(Exchanges(app, Metrics(served_library), log_requests=False)(scope, None, send))
    assert told_before == [[204]]
    assert len(events(caplog, "admin_action")) == 1


def test_requests_are_logged_where_that_is_asked_for(served_library, caplog):
    with (
        caplog.at_level(logging.INFO, "segsearch.service"),
        serving(served_library, Settings(port=0, log_requests=True)) as client,
    ):
        client.get("/search", params={"tag": "nothing"}, headers={"x-request-id": "r-9"})
    (line,) = events(caplog, "request")
    assert (line["request"], line["status"], line["problem"], line["method"]) == ("r-9", 404, "unknown-tag", "GET")


# Generations


def test_a_generation_that_is_not_there_is_a_problem_without_a_path(client, keys, served_library):
    answer = client.post("/generations/99:activate", headers=bearer(keys["admin"]))
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/unknown-generation")
    assert str(served_library.index.root) not in answer.text


@pytest.mark.parametrize("number", ["0", "-1", "1e3", "01x", "9" * 300, "..", "%2e%2e"])
def test_a_generation_that_is_no_number_is_refused(client, keys, number):
    answer = client.post(f"/generations/{number}:activate", headers=bearer(keys["admin"]))
    assert (answer.status_code, answer.json()["type"]) in [
        (422, "/problems/invalid-input"),
        (404, "/problems/not-found"),
    ]


def test_generations_are_listed_and_an_older_one_answers_after_it_was_activated(index, scorer, shards):
    from segsearch.service.jobs.reindex import reindex

    reindex(scorer, shards[:1], index, keep=1000)
    library = SegmentLibrary(scorer, IndexDirectory(index.root))
    with serving(library) as client:
        assert client.get("/generations").json() == {"serving": 2, "numbers": [1, 2]}
        assert client.post("/generations/1:activate").json()["number"] == 1
        library.refresh()
        assert client.get("/search", params={"tag": "Rain"}).json()["generation"]["number"] == 1
