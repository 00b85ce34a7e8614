"""What the client sends and understands, without a socket: uploads, requests, answers, waits."""

import inspect
import io
import json
import subprocess
import sys
import time
from email.utils import formatdate

import numpy as np
import pytest

from segsearch.client import AsyncClient, Client, Retries, calls
from segsearch.client.answers import SearchResult
from segsearch.client.calls import Reach
from segsearch.client.outcomes import Lost, Refused, error_of
from segsearch.client.retries import Tries
from segsearch.client.routes import Request, outcome_of
from segsearch.client.uploads import CHUNK_BYTES, upload_of, uploads_in
from segsearch.core import errors
from segsearch.core.errors import BadRecord, ConfigError, InvalidInput, ServiceRefused, ServiceTooSlow
from segsearch.core.features import FeatureSpec
from segsearch.core.score_codes import PROBABILITIES
from segsearch.core.videos import parse_video, serialise_video
from segsearch.service.rest.answers import score_texts
from tests.library_fixtures import make_videos, write_shards

SPEC = FeatureSpec.parse("rgb:8,audio:4")

# Both clients


def test_both_clients_have_the_same_calls_with_the_same_signatures():
    def signatures(kind):
        named = {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_")}
        return {name: list(inspect.signature(method).parameters.values()) for name, method in named.items()}

    assert signatures(Client) == signatures(AsyncClient)
    assert {name for name, _ in inspect.getmembers(calls, inspect.isfunction) if name[0] != "_"} - {
        "dataclass", "field", "upload_of",
    } <= set(signatures(Client))  # fmt: skip


def test_a_client_brings_nothing_of_the_service_along():
    code = (
        "import sys, segsearch.client.clients, segsearch.client.rest, segsearch.client.cli;"
        "print([m for m in sys.modules if m.startswith(('segsearch.service', 'segsearch.training', 'onnxruntime'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_httpx_a_client_says_what_to_install():
    code = (
        "import sys; sys.modules['httpx'] = None\n"
        "from segsearch.client import Client\n"
        "try: Client('http://127.0.0.1:1')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("MissingExtra")
    assert "pip install 'segsearch[client]'" in done.stdout


BAD_CLIENTS = {
    "url is 'ftp://host'": {"url": "ftp://host"},
    "url is 'http:///search'": {"url": "http:///search"},
    "url is 'http://...@host'": {"url": "http://anna:secret@host"},
    "no user": {"url": "http://host:port"},
    "query or fragment": {"url": "http://host?key=1"},
    "key is '.not shown.'": {"url": "http://host", "key": "a\r\nX-Evil: 1"},
    "timeout_s is 0": {"url": "http://host", "timeout_s": 0},
    "timeout_s is inf": {"url": "http://host", "timeout_s": float("inf")},
}


@pytest.mark.parametrize("message", BAD_CLIENTS)
def test_a_client_that_could_not_work_is_not_made(message):
    with pytest.raises(ConfigError, match=message):
        Client(**BAD_CLIENTS[message])


def test_a_file_that_holds_no_certificates_is_named(tmp_path):
    (tmp_path / "ca.pem").write_text("no PEM")
    with pytest.raises(ConfigError, match=r"ca\.pem"):
        Client("https://host", verify=tmp_path / "ca.pem")


# Uploads


def body(upload) -> bytes:
    return b"".join(upload.body())


def frames_of(count: int = 7, size: int = SPEC.size) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, size), np.uint8)


@pytest.mark.parametrize(
    "frames",
    [frames_of(), np.asfortranarray(frames_of()), frames_of(14)[::2], frames_of()[:, ::-1], frames_of(1, 1)],
    ids=["rows", "columns", "every second", "backwards", "a byte"],
)
def test_an_array_of_any_layout_is_sent_as_numpy_would_save_it(frames):
    upload = upload_of(frames, "v")
    assert np.array_equal(np.load(io.BytesIO(body(upload)), allow_pickle=False), frames)
    assert body(upload) == body(upload)


def test_a_long_array_is_sent_in_chunks_and_never_whole():
    frames = np.zeros((5000, 1152), np.uint8)
    lengths = [len(chunk) for chunk in upload_of(frames).chunks()]
    assert max(lengths) <= CHUNK_BYTES
    assert len(lengths) > frames.nbytes // CHUNK_BYTES


def test_a_file_is_sent_as_it_lies_there(tmp_path):
    np.save(tmp_path / "frames.npy", frames_of(200_000))
    upload = upload_of(tmp_path / "frames.npy")
    assert body(upload) == (tmp_path / "frames.npy").read_bytes()
    assert max(map(len, upload.chunks())) <= CHUNK_BYTES


def test_videos_of_a_shard_are_sent_as_they_lie_there(tmp_path):
    videos = make_videos(3)
    (shard,) = write_shards(tmp_path, videos, 1)
    sent = [(upload.video_id, body(upload)) for upload in uploads_in(shard)]
    assert sent == [(video.id, serialise_video(video, SPEC)) for video in videos]
    assert body(upload_of(shard, "v001")) == sent[1][1]


def test_a_shard_of_one_video_needs_no_name(tmp_path):
    (video,) = make_videos(1)
    (shard,) = write_shards(tmp_path, [video], 1)
    assert np.array_equal(parse_video(body(upload_of(shard)), SPEC).frames, video.frames)


REFUSED = {
    "float64 of shape": (np.zeros((2, 12)), None),
    "uint8 of shape .24,.": (np.zeros(24, np.uint8), None),
    "uint8 of shape .0, 12.": (np.zeros((0, 12), np.uint8), None),
    r"a file \*.mp4": ("film.mp4", None),
    "beside a source that names its video": (make_videos(1)[0], "other"),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_sent_is_named(message):
    with pytest.raises(InvalidInput, match=message):
        upload_of(*REFUSED[message])


@pytest.mark.parametrize(("video_id", "message"), [(None, "exactly one"), ("x", "'x'; wanted a video of")])
def test_a_video_that_a_shard_does_not_tell_is_named(tmp_path, video_id, message):
    (shard,) = write_shards(tmp_path, make_videos(2), 1)
    with pytest.raises(InvalidInput, match=message):
        upload_of(shard, video_id)


def test_a_damaged_shard_is_named_with_its_record(tmp_path):
    (shard,) = write_shards(tmp_path, make_videos(2), 1)
    content = bytearray(shard.read_bytes())
    content[-6] ^= 1
    shard.write_bytes(content)
    with pytest.raises(BadRecord, match="record 1"):
        list(uploads_in(shard))


def test_frames_are_not_indexed_without_a_name():
    with pytest.raises(InvalidInput, match="an id to index the video under"):
        calls.score(frames_of(), None, 20, True)


# Requests and answers


def test_a_call_is_a_request_with_its_parameters():
    request = Request.of(calls.moments("Rain and not Dog", np.int64(7), 0.5, None))
    assert (request.method, request.path) == ("GET", "/search")
    assert dict(request.query) == {"tag": "Rain and not Dog", "k": "7", "min_score": "0.5", "merge": "true"}


def test_a_segment_is_named_in_the_body():
    request = Request.of(calls.similar("a1B2", 5, 7))
    assert (request.method, request.path, request.query) == ("POST", "/similar", ())
    assert json.loads(request.content) == {"video_id": "a1B2", "start_s": 5, "k": 7}


@pytest.mark.parametrize(
    ("video_id", "path"),
    [("a1B2", "/videos/a1B2"), ("..", "/videos/%2E%2E"), ("a/b?c#d%41", "/videos/a%2Fb%3Fc%23d%2541")],
)
def test_a_video_id_stays_one_part_of_the_path(video_id, path):
    assert Request.of(calls.video(video_id, ["Rain", "Dog"])).path == path
    assert Request.of(calls.video(video_id, ["Rain", "Dog"])).query == (("tag", "Rain"), ("tag", "Dog"))


def test_every_score_comes_back_as_the_float32_that_it_was():
    hits = [{"video": "v", "start_s": 0, "score": json.loads(text)} for text in score_texts()]
    bundle = {"name": "n", "version": 1, "digest": ""}
    generation = {"number": 1, "created_at": "", "segments": 1, "videos": 1, "kept_per_tag": 1, "bundle": bundle}
    told = {"tags": [], "generation": generation, "sequence": 0, "complete": True, "segments": hits, "news": 1}
    assert np.array_equal(SearchResult.of(told).scores, PROBABILITIES)


def test_every_error_of_the_service_is_raised_as_what_it_is():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    for kind in set(kinds) - {errors.SegsearchError, ServiceRefused}:
        error = error_of(Refused(404, kind.code, "so it is", {"field": "f"}, "r-1", None, None))
        assert (type(error), str(error), error.field) == (kind, "so it is", "f")
        assert (error.__cause__.status, error.__cause__.request_id) == (404, "r-1")


@pytest.mark.parametrize(("status", "code"), [(404, "never-heard-of"), (500, "bad-config"), (500, "internal")])
def test_what_is_no_error_of_ours_or_a_failure_of_the_service_is_refused_with_its_code(status, code):
    error = error_of(Refused(status, code, "so it is", {}, "r-1", None, None))
    assert (type(error), error.status, error.code, error.request_id) == (ServiceRefused, status, code, "r-1")


def test_an_answer_that_is_no_problem_document_is_quoted():
    outcome = outcome_of(502, {"content-type": "text/html"}, b"<h1>Bad gateway</h1>" + b" " * 1000)
    assert (outcome.code, outcome.reach) == ("no-problem-document", None)
    assert outcome.detail.startswith("<h1>Bad gateway")
    assert len(outcome.detail) == 200


PAST = "Wed, 21 Oct 2015 07:28:00 GMT"
RETRY_AFTER = {"": None, "3": 3.0, "-3": None, "soon": None, "1e9": None, "9" * 40: None, PAST: 0.0}


@pytest.mark.parametrize("text", RETRY_AFTER)
def test_when_to_come_back_is_read_in_seconds_or_not_at_all(text):
    assert outcome_of(503, {"retry-after": text}, b"").retry_after_s == RETRY_AFTER[text]


def test_when_to_come_back_may_be_a_date():
    assert 50 < outcome_of(503, {"retry-after": formatdate(time.time() + 60, usegmt=True)}, b"").retry_after_s <= 60


# Waits


class Clock:
    """Stands where it is put."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def tries(limit_s: float = 100.0, jitter: float = 1.0, clock: Clock | None = None, **retries: float) -> Tries:
    return Tries("http://host", limit_s, Retries(**retries), clock or Clock(), lambda: jitter)


UNAVAILABLE = Refused(503, "queue-full", "", {}, None, None, Reach.REFUSED)


def later(seconds: float) -> Refused:
    return Refused(503, "queue-full", "", {}, None, seconds, Reach.REFUSED)


def test_waits_double_up_to_the_longest_and_end_with_the_attempts():
    asked = tries(attempts=6, first_s=1.0, longest_s=5.0)
    assert [asked.wait_s(UNAVAILABLE, Reach.UNKNOWN) for _ in range(6)] == [1.0, 2.0, 4.0, 5.0, 5.0, None]


def test_a_wait_is_any_part_of_the_longest():
    assert tries(jitter=0.25, first_s=1.0).wait_s(UNAVAILABLE, Reach.UNKNOWN) == 0.25
    assert tries(jitter=0.0, first_s=1.0).wait_s(UNAVAILABLE, Reach.UNKNOWN) == 0.0


def test_a_wait_is_at_least_what_the_service_asks_for():
    assert tries(jitter=0.5, first_s=1.0).wait_s(later(7.0), Reach.UNKNOWN) == 7.5


def test_a_wait_beyond_the_deadline_is_none():
    assert tries(limit_s=7.0).wait_s(later(7.0), Reach.UNKNOWN) is None
    assert tries(limit_s=8.0).wait_s(later(7.0), Reach.UNKNOWN) is not None


def test_nothing_is_asked_again_after_the_deadline():
    clock = Clock()
    asked = tries(limit_s=10.0, jitter=0.5, clock=clock)
    clock.now_s = 11.0
    assert asked.wait_s(UNAVAILABLE, Reach.UNKNOWN) is None


def test_a_body_that_is_sent_beyond_the_deadline_stops_there():
    clock = Clock()
    chunks = tries(limit_s=10.0, clock=clock).in_time([b"a", b"b", b"c"])
    assert next(chunks) == b"a"
    clock.now_s = 10.0
    with pytest.raises(ServiceTooSlow, match="within 10 s"):
        next(chunks)


@pytest.mark.parametrize("reach", Reach)
def test_a_call_is_repeated_only_as_far_as_it_may_have_come(reach):
    lost = Lost(ServiceTooSlow("http://host", 1.0), reach)
    again = [call for call in (calls.activate(1), calls.delete("v"), calls.tags("", 1))
             if tries().wait_s(lost, call.repeat_after) is not None]  # fmt: skip
    assert [call.name for call in again] == ["activate", "delete", "tags"][reach > 0 :]


@pytest.mark.parametrize("retries", [{"attempts": 0}, {"attempts": 101}, {"first_s": -1.0}, {"first_s": 9.0}])
def test_retries_that_make_no_sense_are_named(retries):
    with pytest.raises(ConfigError, match=next(iter(retries))):
        Retries(**retries)
