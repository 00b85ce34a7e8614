"""The REST API over a real socket: answers, and an answer to every kind of bad request."""

import base64
import gzip
import io
import json
import socket
import struct
import time

import httpx
import numpy as np
import pytest
from backports import zstd

from segsearch.core import errors
from segsearch.core.records import masked_crc32c
from segsearch.core.videos import Video, serialise_video
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.library import SegmentLibrary
from segsearch.service.rest.answers import ScoreAnswer, SearchAnswer
from segsearch.service.rest.problems import TABLE
from segsearch.service.rest.search_answers import ARROW, LINES
from segsearch.service.rest.search_text import search_json
from segsearch.service.rest.uploads.reader import PARSERS
from segsearch.service.server import bind
from segsearch.service.settings import Settings
from tests.library_fixtures import make_videos, serving
from tests.tiny_model import SPEC

FRAMES = make_videos(1, seed=11)[0].frames  # (T, 12)
NPY = {"content-type": "application/x-npy"}


def npy_of(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)  # hostile clients may
    return out.getvalue()


def npz_of(save=np.savez, **arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    save(out, **arrays)
    return out.getvalue()


def base64_of(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()


def tfrecord_of(payload: bytes) -> bytes:
    """A TFRecord file of one record."""
    length = struct.pack("<Q", len(payload))
    checksums = [struct.pack("<I", masked_crc32c(part)) for part in (length, payload)]
    return length + checksums[0] + payload + checksums[1]


def json_of(frames: np.ndarray = FRAMES, **changes: object) -> dict[str, object]:
    """A JSON body of frames (T, 12), its streams replaced by `changes`."""
    return {"video_id": "up", "frames": {"rgb": frames[:, :8].tolist(), "audio": frames[:, 8:].tolist(), **changes}}


def problem(answer: httpx.Response, status: int, code: str) -> str:
    """The detail of an answer, which must be this problem document."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    document = answer.json()
    assert (answer.status_code, document["status"], document["type"]) == (status, status, f"/problems/{code}")
    assert document["instance"] == answer.request.url.path
    return str(document["detail"])


# Answers


def test_a_search_answers_what_the_library_finds(client, served_library):
    answer = client.get("/search", params={"tag": "dog BARK", "k": 7})
    told = SearchAnswer.model_validate_json(answer.content)
    assert told == SearchAnswer.of(served_library.search("Dog bark", 7), told.next_page_token)


def test_search_hits_name_segment_video_times_and_score(client):
    hit = client.get("/search", params={"tag": "Rain", "k": 1}).json()["segments"][0]
    assert hit["segment"] == f"{hit['video']}:{hit['start_s']}"
    assert (hit["end_s"] - hit["start_s"], 0 <= hit["score"] <= 1) == (5, True)


def test_every_search_names_its_generation_and_the_bundle_that_scored_it(client, tiny_bundle):
    generation = client.get("/search", params={"tag": "Rain"}).json()["generation"]
    assert (generation["number"], generation["bundle"]["digest"]) == (1, tiny_bundle.digest)


def test_the_fast_way_to_write_a_page_equals_the_plain_one(served_library):
    for tag in ("Rain", "Dog bark"):
        page = served_library.search(tag, 100_000)
        assert SearchAnswer.model_validate_json(search_json(page)) == SearchAnswer.of(page)


RGB, AUDIO = np.ascontiguousarray(FRAMES[:, :8]), np.ascontiguousarray(FRAMES[:, 8:])
RECORD = serialise_video(Video("up", None, frames=FRAMES), SPEC)
# Every way to send the same frames: media type and body. The first two and the last two name their video.
SAME_FRAMES = {
    "numbers": ("application/json", json.dumps(json_of()).encode()),
    "base64": ("application/json", json.dumps(json_of(rgb=base64_of(RGB), audio=base64_of(AUDIO))).encode()),
    "npy": ("application/x-npy", npy_of(FRAMES)),
    "npy in Fortran order": ("application/x-npy", npy_of(np.asfortranarray(FRAMES))),
    "npz": ("application/x-npz", npz_of(frames=FRAMES)),
    "npz of streams": ("application/x-npz", npz_of(rgb=RGB, audio=AUDIO)),
    "deflated npz": ("application/x-npz", npz_of(np.savez_compressed, frames=FRAMES)),
    "TFRecord": ("application/x-tfrecord", tfrecord_of(RECORD)),
    "protobuf": ("application/x-protobuf", RECORD),
}


@pytest.mark.parametrize("coding", ["identity", "gzip", "zstd"])
@pytest.mark.parametrize("way", SAME_FRAMES)
def test_the_same_frames_score_alike_in_whatever_form_they_come(client, way, coding):
    kind, body = SAME_FRAMES[way]
    body = {"identity": bytes, "gzip": gzip.compress, "zstd": zstd.compress}[coding](body)
    named = {} if kind.endswith(("json", "tfrecord", "protobuf")) else {"video_id": "up"}
    headers = {"content-type": kind, "content-encoding": coding}
    answer = client.post("/score", params=named, content=body, headers=headers)
    assert (answer.status_code, answer.content) == (200, client.post("/score", json=json_of()).content)


def test_a_json_body_without_a_name_takes_the_one_in_the_query(client):
    body = {"frames": json_of()["frames"]}
    assert client.post("/score", params={"video_id": "mine"}, json=body).json()["video"] == "mine"


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_long_answer_is_compressed_as_the_client_likes_it(client, coding):
    query = {"tag": "Rain", "k": 1000}
    plain = client.get("/search", params=query, headers={"accept-encoding": "identity"})
    answer = client.get("/search", params=query, headers={"accept-encoding": coding})
    assert (answer.headers["content-encoding"], answer.headers["vary"]) == (coding, "Accept, Accept-Encoding")
    assert int(answer.headers["content-length"]) < len(plain.content) / 3
    assert (answer.content, plain.headers.get("content-encoding")) == (plain.content, None)


def test_an_upload_gets_the_best_tags_of_each_segment(client, served_library):
    answer = ScoreAnswer.model_validate_json(client.post("/score", params={"top": 2}, json=json_of()).content)
    scored = served_library.score(FRAMES, 2)
    names = served_library.view().vocabulary
    assert [segment.segment for segment in answer.segments] == [f"up:{start}" for start in scored.starts]
    assert [[tag.tag for tag in segment.tags] for segment in answer.segments] == [
        [names[row].name for row in rows] for rows in scored.classes.tolist()
    ]
    np.testing.assert_allclose(
        [[tag.score for tag in segment.tags] for segment in answer.segments], scored.probabilities, rtol=1e-6
    )


def test_an_upload_without_a_name_is_called_upload(client):
    assert client.post("/score", content=npy_of(FRAMES), headers=NPY).json()["video"] == "upload"


def test_a_video_as_long_as_the_limit_is_scored(client):
    assert (
        len(client.post("/score", content=npy_of(np.zeros((200, 12), np.uint8)), headers=NPY).json()["segments"]) == 40
    )


def test_ids_that_need_escaping_come_back_whole(client):
    answer = client.post("/score", json={**json_of(), "video_id": 'a"\\é'})
    assert (answer.json()["video"], answer.json()["segments"][0]["segment"]) == ('a"\\é', 'a"\\é:0')


def test_tags_are_completed_from_any_of_their_words(client):
    assert [tag["tag"] for tag in client.get("/tags", params={"prefix": "wh"}).json()["tags"]] == ["Dog whistle"]


def test_readiness_names_generation_bundle_and_provider(client, scorer):
    ready = client.get("/readyz").json()
    assert (ready["generation"]["number"], ready["bundle"]["name"]) == (1, "tiny")
    assert (ready["provider"], ready["streams"]) == (scorer.provider, str(SPEC))


def test_liveness_answers(client):
    assert client.get("/livez").json() == {"status": "alive"}


def test_openapi_describes_every_route_and_every_body(client):
    document = client.get("/openapi.json").json()
    assert {"/search", "/score", "/tags", "/livez", "/readyz"} <= set(document["paths"])
    post = document["paths"]["/score"]["post"]
    assert set(post["requestBody"]["content"]) == set(PARSERS)
    search = document["paths"]["/search"]["get"]
    answers = search["responses"]["200"]["content"]["application/json"]["schema"]["anyOf"]
    assert [answer["$ref"].split("/")[-1] for answer in answers] == ["SearchAnswer", "MomentsAnswer"]
    wanted = {"tag", "k", "min_score", "per_video", "merge", "page_token"}
    assert {parameter["name"] for parameter in search["parameters"]} == wanted
    assert set(search["responses"]["200"]["content"]) == {"application/json", LINES, ARROW}


def test_every_reference_in_openapi_leads_somewhere(client):
    document = client.get("/openapi.json").json()
    references = [part.split('"')[0] for part in json.dumps(document).split('"#/components/schemas/')[1:]]
    assert set(references) <= set(document["components"]["schemas"])


# Bad requests


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
        raw.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-npy\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\n")  # fmt: skip
        for _ in range(101):
            raw.sendall(b"3e8\r\n" + bytes(1000) + b"\r\n")
        assert raw.recv(12) == b"HTTP/1.1 413"


def test_a_client_that_leaves_in_mid_body_is_no_failure_of_ours(client, caplog):
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=10) as raw:
        raw.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\nhalf")
        time.sleep(0.1)
    assert client.get("/livez").status_code == 200
    assert "request_failed" not in caplog.text


@pytest.mark.parametrize("top", ["0", "1001", "x"])
def test_a_top_that_cannot_be_is_named(client, top):
    answer = client.post("/score", params={"top": top}, json=json_of())
    assert "query.top" in problem(answer, 422, "invalid-input")


# Problems


def subclasses(kind: type) -> set[type]:
    return {kind}.union(*map(subclasses, kind.__subclasses__()))


def test_every_error_has_its_row():
    assert {
        kind for kind in subclasses(errors.SegsearchError) if kind.__module__.startswith(errors.__name__ + ".")
    } == set(TABLE)


def test_every_problem_type_has_its_page(client):
    codes = {kind.code for kind in TABLE} | {"not-found", "method-not-allowed"}
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
