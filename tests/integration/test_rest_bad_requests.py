"""The REST API over a real socket: an answer to every kind of bad request."""

import json
import socket
import time

import numpy as np
import pytest

from tests.rest_bodies import FRAMES, NPY, json_of, npy_of, problem


def test_an_unknown_tag_is_a_problem_that_offers_the_nearest(client):
    answer = client.get("/search", params={"tag": "dog"})
    problem(answer, 404, "unknown-tag")
    assert answer.json()["nearest"] == ["Dog bark", "Dog whistle"]


@pytest.mark.parametrize("k", ["0", "-1", "100001", "1e3", "many", "", "NaN"])
def test_a_k_that_cannot_be_is_named(client, k):
    assert "query.k" in problem(client.get("/search", params={"tag": "Rain", "k": k}), 422, "invalid-input")


@pytest.mark.parametrize("query", ["", "k=3", "tag=", f"tag={'x' * 1001}"])
def test_a_search_needs_a_tag(client, query):
    assert "query.tag" in problem(client.get(f"/search?{query}"), 422, "invalid-input")


@pytest.mark.parametrize("path", ["/search?tag=Rain&sort=true", "/tags?x=1", "/livez?x=1", "/readyz?x=1"])
def test_a_query_parameter_that_nobody_reads_is_refused(client, path):
    assert path.split("?")[1].split("&")[-1].split("=")[0] in problem(client.get(path), 422, "invalid-input")


def test_an_unknown_path_and_a_wrong_method_are_problems(client):
    problem(client.get("/nothing"), 404, "not-found")
    answer = client.post("/search")
    problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET"


@pytest.mark.parametrize(
    ("path", "methods"),
    [("/videos/x", "DELETE, GET"), ("/jobs/x:cancel", "POST"), ("/jobs/x", "GET"), ("/tags", "GET")],
)
def test_a_wrong_method_is_told_all_right_ones(client, path, methods):
    assert client.put(path).headers["allow"] == methods


# Bodies


ROW = FRAMES[:1, :8].tolist()[0]
BAD_JSON: dict[str, tuple[object, str]] = {
    "no JSON": ("{", "body: not JSON"),
    "no object": ([], "body: a list"),
    "nothing": ({}, "body.frames: missing"),
    "null frames": ({"frames": None}, "frames: null"),
    "missing stream": ({"frames": {"rgb": [ROW]}}, "frames.audio: missing"),
    "unknown stream": (json_of(video=[]), "frames.video: unknown"),
    "unknown member": ({**json_of(), "index": True}, "body.index: unknown"),
    "0 frames": (json_of(rgb=[], audio=[]), "frames.rgb: 0 frames"),
    "0 frames in base64": (json_of(rgb=""), "frames.rgb: 0 frames"),
    "unequal streams": (json_of(rgb=[ROW]), "frames: streams of unequal length"),
    "short row": (json_of(rgb=[ROW, ROW[:7]]), "frames.rgb[1]: 7 values"),
    "row that is none": (json_of(rgb=[ROW, 5]), "frames.rgb[1]: 5"),
    "too large": (json_of(rgb=[ROW, [*ROW[:3], 256, *ROW[4:]]]), "frames.rgb[1][3]: 256"),
    "huge": (json_of(rgb=[[10**30, *ROW[1:]]]), "frames.rgb[0][0]: a number beyond 64 bits"),
    "negative": (json_of(rgb=[[-1, *ROW[1:]]]), "frames.rgb[0][0]: -1"),
    "a float": (json_of(rgb=[[*ROW[:7], 1.5]]), "frames.rgb[0][7]: 1.5"),
    "a bool": (json_of(rgb=[[True, *ROW[1:]]]), "frames.rgb[0][0]: true"),
    "a text": (json_of(rgb=[["1", *ROW[1:]]]), 'frames.rgb[0][0]: "1"'),
    "NaN": ('{"frames": {"rgb": [[NaN,0,0,0,0,0,0,0]], "audio": [[0,0,0,0]]}}', "frames.rgb[0][0]: NaN"),
    "Infinity": ('{"frames": {"rgb": [[0,0,0,0,0,0,0,-Infinity]], "audio": []}}', "frames.rgb[0][7]: -Infinity"),
    "NaN stream": ('{"frames": {"rgb": NaN, "audio": []}}', "frames.rgb: NaN"),
    "not base64": (json_of(rgb="&&&&"), "frames.rgb: not base64"),
    "base64 of half a row": (json_of(rgb="AAAA"), "frames.rgb: 3 bytes"),
    "deep": ("[" * 50_000, "body: not JSON"),
    "bytes": (b"\xff\xfe\x00", "body: not JSON"),
    "id of numbers": ({**json_of(), "video_id": 5}, "video_id: 5"),
    "empty id": ({**json_of(), "video_id": ""}, "video_id: ''"),
    "id of half a character": ('{"video_id": "\\ud800", "frames": {"rgb": "AA==", "audio": "AA=="}}', "video_id: "),
    "member of half a character": ('{"\\ud800": 1, "frames": {}}', "body.\\ud800: unknown"),
    "id with blanks": ({**json_of(), "video_id": "a b"}, "video_id: 'a b'"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_JSON)
def test_a_bad_json_body_is_named_by_field_and_place(client, kind):
    body, wanted = BAD_JSON[kind]
    content = body if isinstance(body, str | bytes) else json.dumps(body)
    answer = client.post("/score", content=content, headers={"content-type": "application/json"})
    assert problem(answer, 422, "invalid-input").startswith(wanted)


def with_header(text: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    header = text.encode()
    return b"\x93NUMPY" + version + len(header).to_bytes(2 if version[0] == 1 else 4, "little") + header + data


CLAIM = "{{'descr': '|u1', 'fortran_order': False, 'shape': {}, }}\n"
BAD_NPY: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "not a .npy array"),
    "half a magic": (b"\x93NUM", "not a .npy array"),
    "half a header": (npy_of(FRAMES)[:60], "not a .npy array"),
    "text": (b"1,2,3", "not a .npy array"),
    "zip": (b"PK\x03\x04", "not a .npy array"),
    "version 9": (with_header(CLAIM.format((1, 12)), bytes(12), b"\x09\x00"), "not a .npy array"),
    "long header": (with_header(CLAIM.format((1, 12)) + " " * 5_000, bytes(12)), "not a .npy array"),
    "header with code": (with_header("__import__('os').abort()"), "not a .npy array"),
    "header without shape": (with_header("{'descr': '|u1', 'fortran_order': False}"), "not a .npy array"),
    "deep header": (with_header("(" * 2_000), "not a .npy array"),
    "pickle": (npy_of(np.array([[object()]], object)), "array of '|O'"),
    "records": (npy_of(np.zeros(3, [("a", "u1")])), "not a .npy array"),
    "floats": (npy_of(FRAMES.astype(np.float32)), "array of '<f4'"),
    "signed": (npy_of(FRAMES.astype(np.int8)), "array of '|i1'"),
    "one axis": (npy_of(FRAMES.ravel()), "array of shape"),
    "three axes": (npy_of(FRAMES[None]), "array of shape"),
    "other width": (npy_of(FRAMES[:, :11]), "array of shape"),
    "0 frames": (npy_of(FRAMES[:0]), "0 frames"),
    "cut": (npy_of(FRAMES)[:-1], "bytes of data"),
    "too long": (npy_of(FRAMES) + b"x", "bytes of data"),
    "a lie about its size": (with_header(CLAIM.format((150, 12)), bytes(12)), "12 bytes of data; wanted 1800"),
    "negative": (with_header(CLAIM.format((-1, 12)), bytes(12)), "not a .npy array"),
    "bool shape": (with_header(CLAIM.format("(True, 12)"), bytes(12)), "not a .npy array"),
}


@pytest.mark.parametrize("kind", BAD_NPY)
def test_a_bad_npy_body_is_refused_and_never_unpickled(client, kind):
    body, wanted = BAD_NPY[kind]
    detail = problem(client.post("/score", content=body, headers=NPY), 422, "invalid-input")
    assert detail.startswith("body: ")
    assert wanted in detail


@pytest.mark.parametrize("name", ["a,b", "a\u2028b", "a\x07", ""])
def test_a_name_for_an_npy_body_is_checked_as_one_in_json_is(client, name):
    in_query = client.post("/score", params={"video_id": name}, content=npy_of(FRAMES), headers=NPY)
    in_json = client.post("/score", json={**json_of(), "video_id": name})
    assert [problem(answer, 422, "invalid-input") for answer in (in_query, in_json)] == [
        f"{field}: {name!r}; wanted 1 to 256 printable characters without blanks or commas"
        for field in ("query.video_id", "video_id")
    ]
    assert (in_query.json()["field"], in_json.json()["field"]) == ("query.video_id", "video_id")


def test_a_name_in_the_query_of_a_json_body_is_refused(client):
    answer = client.post("/score", params={"video_id": "a"}, json=json_of())
    assert "query.video_id" in problem(answer, 422, "invalid-input")


@pytest.mark.parametrize("kind", ["", "text/plain", "application/octet-stream", "multipart/form-data"])
def test_an_unknown_content_type_names_the_known_ones(client, kind):
    answer = client.post("/score", content=b"x", headers={"content-type": kind} if kind else {})
    assert "one of application/json, application/x-npy" in problem(answer, 415, "unsupported-content")


@pytest.mark.parametrize("frame_count", [201, 1_000_000_000_000])
def test_a_video_beyond_the_limit_is_too_large_whatever_its_bytes(client, frame_count):
    body = with_header(CLAIM.format((frame_count, 12)), bytes(12))
    assert "at most 200" in problem(client.post("/score", content=body, headers=NPY), 413, "too-large")


def test_a_long_json_video_is_too_large(client):
    body = json_of(np.zeros((201, 12), np.uint8))
    assert "201 frames; wanted at most 200" in problem(client.post("/score", json=body), 413, "too-large")


def test_a_body_that_announces_too_much_is_refused_unread(client):
    detail = problem(client.post("/score", content=bytes(100_001), headers=NPY), 413, "too-large")
    assert "100001 bytes; wanted at most 100000" in detail


def test_a_body_that_hides_its_length_is_cut_at_the_limit(client):
    """Chunks without a Content-Length, a little past the limit, then silence: the answer comes without waiting."""
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=10) as raw:
        raw.sendall(b"POST /score HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-npy\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\n")  # fmt: skip
        for _ in range(101):
            raw.sendall(b"3e8\r\n" + bytes(1000) + b"\r\n")
        assert raw.recv(12) == b"HTTP/1.1 413"


def test_a_client_that_leaves_in_mid_body_is_no_failure_of_ours(client, caplog):
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=10) as raw:
        raw.sendall(b"POST /score HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000\r\n\r\nhalf")
        time.sleep(0.1)
    assert client.get("/livez").status_code == 200
    assert "request_failed" not in caplog.text


@pytest.mark.parametrize("top", ["0", "1001", "x"])
def test_a_top_that_cannot_be_is_named(client, top):
    answer = client.post("/score", params={"top": top}, json=json_of())
    assert "query.top" in problem(answer, 422, "invalid-input")
