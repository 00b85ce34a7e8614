"""The clients over gRPC: the same answers and errors as over HTTP, from a real server with both edges."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress

import grpc
import numpy as np
import pytest

from segsearch.client import Client, Retries, calls
from segsearch.client.calls import Reach
from segsearch.client.rest import Rest
from segsearch.client.retries import Tries
from segsearch.client.rpc import Grpc
from segsearch.client.sending import Service
from segsearch.client.uploads import upload_of, uploads_in
from segsearch.core.errors import (
    ConfigError,
    Forbidden,
    InputTooLarge,
    InvalidInput,
    NotIndexing,
    RateLimited,
    ServiceRefused,
    ServiceTooSlow,
    ServiceUnreachable,
    Unauthorised,
    UnknownTag,
    UnknownVideo,
)
from segsearch.service.index.format import LIVE
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.live.store import LiveStore
from segsearch.service.jobs.reindex import reindex
from segsearch.service.library import SegmentLibrary
from segsearch.service.rest.metrics import Metrics
from segsearch.service.rpc.server import RpcServer
from segsearch.service.security.guard import Guard
from segsearch.service.security.key_file import add_key
from segsearch.service.security.keys import Scope, make_key
from segsearch.service.settings import Settings
from segsearch.v1 import search_pb2 as pb
from tests.asking import both, facts
from tests.integration.test_serving_security import Authority
from tests.library_fixtures import make_videos, serving
from tests.tiny_model import SPEC

FRAMES = make_videos(1, seed=9)[0].frames
LIMITS = Settings(port=0, frame_limit=200, shutdown_s=5)
READING = {
    "search": ("Rain and not Dog bark", 7),
    "moments": ("Rain", 50),
    "score": (FRAMES,),
    "tags": ("dog",),
    "video": ("v001", ["Rain", "Cat"]),
    "generations": (),
    "compare": (1, 1, 5),
}
SOON = {"retries": Retries(attempts=3, first_s=0.01, longest_s=0.01)}


@contextmanager
def rpc_url(library: SegmentLibrary, settings: Settings = LIMITS) -> Iterator[str]:
    """Where a gRPC server of the library is, for as long as the block lasts."""
    server = RpcServer(library, settings, Guard.of(settings), Metrics(library))
    scheme = "grpcs" if settings.tls_certificate else "grpc"
    address = server.bind(0)
    server.start()
    try:
        yield f"{scheme}://{address}"
    finally:
        server.drain()
        server.close()


@pytest.fixture(scope="module")
def library(tmp_path_factory, scorer, shards):
    """A library that is only read, with embeddings."""
    directory = IndexDirectory(tmp_path_factory.mktemp("client") / "index")
    reindex(scorer, shards, directory, keep=1000, embeddings=True)
    return SegmentLibrary(scorer, directory)


@pytest.fixture(scope="module")
def urls(library):
    """Where its HTTP and its gRPC are."""
    with serving(library, LIMITS) as http, rpc_url(library) as rpc:
        yield str(http.base_url), rpc


@pytest.fixture
def live_url(scorer, index):
    """gRPC of a library that stores."""
    space = scorer.bundle.manifest.features.space
    with LiveStore.open(index.root / LIVE, space) as store, rpc_url(SegmentLibrary(scorer, index, store)) as url:
        yield url


@both
@pytest.mark.parametrize("method", READING)
def test_an_answer_over_grpc_is_the_one_over_http(ask, urls, method):
    rest, rpc = (ask(url, method, *READING[method]) for url in urls)
    assert facts(rest) == facts(rpc)


@both
def test_an_answer_in_several_messages_is_one(ask, urls):
    rest, rpc = (ask(url, "search", "Rain", 20_000) for url in urls)
    assert len(rpc) > 0
    assert facts(rest) == facts(rpc)


@both
def test_neighbours_of_a_segment_and_of_frames_are_the_same_over_both(ask, urls, library):
    for method, arguments, options in (
        ("similar", ("v004", 5, 7), {}),
        ("similar_to", (FRAMES,), {"k": 5}),
        ("similar_to", (FRAMES,), {"k": 5, "start_s": 0}),
    ):
        rest, rpc = (ask(url, method, *arguments, **options) for url in urls)
        assert (rest.video_ids.tolist(), rest.starts.tolist()) == (rpc.video_ids.tolist(), rpc.starts.tolist())
        assert np.allclose(rest.similarities, rpc.similarities, atol=1e-6)
        assert (rpc.generation.number, rpc.recall) == (1, rest.recall)
    assert ask(urls[0], "similar", "v004", 5, 7).video_ids.tolist() == library.similar("v004", 5, 7).video_ids


@both
def test_a_long_video_goes_in_pieces(ask, library, monkeypatch):
    long = np.random.default_rng(1).integers(0, 256, (199, SPEC.size), np.uint8)
    monkeypatch.setattr("segsearch.client.uploads.CHUNK_BYTES", 10 * SPEC.size)
    with rpc_url(library) as url:
        found = ask(url, "score", long, top=2)
    assert len(list(upload_of(long).rows())) == 20
    assert np.array_equal(found.scores, library.score(long, 2).probabilities)


@both
def test_a_file_is_scored_over_grpc_and_a_record_needs_http(ask, urls, shards, tmp_path):
    np.save(tmp_path / "frames.npy", FRAMES)
    from_file, from_array = (ask(urls[1], "score", source) for source in (tmp_path / "frames.npy", FRAMES))
    assert facts(from_file) == facts(from_array)
    with pytest.raises(InvalidInput, match=r"wanted an array, a \.npy file or a video that was read"):
        ask(urls[1], "score", next(uploads_in(shards[0])))
    (tmp_path / "broken.npy").write_bytes(b"no array")
    with pytest.raises(InvalidInput, match=r"broken\.npy is no array"):
        ask(urls[1], "score", tmp_path / "broken.npy")


@both
def test_many_videos_come_back_in_their_order_over_grpc(ask, urls, videos):
    found = ask(urls[1], "score_many", videos[:9], concurrency=3, top=1)
    assert [one.video_id for one in found] == [video.id for video in videos[:9]]


@both
def test_an_upload_over_grpc_is_found_until_it_is_deleted(ask, live_url):
    stored = ask(live_url, "score", FRAMES, video_id="mine", index=True).stored
    again = ask(live_url, "score", FRAMES, video_id="mine", index=True).stored
    assert ((stored.sequence, stored.unchanged), (again.sequence, again.unchanged)) == ((1, False), (1, True))
    assert "mine" in ask(live_url, "search", "Rain", 1000).video_ids
    assert ask(live_url, "delete", "mine").sequence == 2
    with pytest.raises(UnknownVideo) as gone:
        ask(live_url, "delete", "mine")
    assert gone.value.video_id == "mine"
    assert ask(live_url, "activate", 1).number == 1


@both
@pytest.mark.parametrize(
    ("method", "arguments", "kind"),
    [
        ("search", ("dgo bark",), UnknownTag),
        ("search", ("Rain", 0), InvalidInput),
        ("score", (np.zeros((201, SPEC.size), np.uint8),), InputTooLarge),
        ("score", (np.zeros((3, 5), np.uint8),), InvalidInput),
        ("delete", ("v001",), NotIndexing),
        ("video", ("nobody", ["Rain"]), UnknownVideo),
    ],
)
def test_an_error_over_grpc_is_the_one_over_http(ask, urls, method, arguments, kind):
    raised = []
    for url in urls:
        with pytest.raises(kind) as refused:
            ask(url, method, *arguments)
        raised.append(refused.value)
    rest, rpc = raised
    assert type(rest) is type(rpc)
    assert vars(rest).keys() - {"field", "errors"} == vars(rpc).keys() - {"field", "errors"}
    if kind is UnknownTag:
        assert (rpc.tag, rpc.nearest) == (rest.tag, rest.nearest)
    assert isinstance(rpc.__cause__, ServiceRefused)
    assert rpc.__cause__.code == rest.__cause__.code
    assert len(rpc.__cause__.request_id) == 16


@both
def test_what_no_message_can_hold_is_named(ask, urls):
    with pytest.raises(InvalidInput, match="search"):
        ask(urls[1], "search", "Rain", 1 << 40)


@both
def test_a_call_that_only_http_has_says_so(ask, urls):
    with pytest.raises(ConfigError, match="http"):
        ask(urls[1], "ready")


@both
def test_a_key_opens_over_grpc_what_its_scope_allows(ask, library, tmp_path):
    key, kept = make_key("anna", Scope.read)
    add_key(tmp_path / "keys", kept)
    settings = Settings(port=0, keys=tmp_path / "keys", rate_per_s=0.001, rate_burst=2, shutdown_s=5)
    with rpc_url(library, settings) as url:
        with pytest.raises(Unauthorised):
            ask(url, "tags")
        assert ask(url, "tags", client={"key": key}).generation == 1
        with pytest.raises(Forbidden) as refused:
            ask(url, "score", FRAMES, client={"key": key})
        assert (refused.value.found, refused.value.wanted) == ("read", "write")
        with suppress(RateLimited):  # if the refusal counted
            ask(url, "tags", client={"key": key})
        with pytest.raises(RateLimited) as limited:
            ask(url, "tags", client={"key": key})
        assert (limited.value.rate_per_s, limited.value.retry_after_s > 60) == (0.001, True)


@both
def test_a_server_that_is_not_there_is_unreachable_over_grpc(ask):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ServiceUnreachable):
            ask(f"grpc://127.0.0.1:{taken.getsockname()[1]}", "tags", client=SOON)


@pytest.mark.parametrize("url", ["grpc://no-such-host.invalid:50051", "http://no-such-host.invalid"])
def test_a_name_that_nobody_has_reached_nobody(url):
    tries = Tries(url, 20.0, Retries())
    service = Service(url, None, 20.0, True, Retries())
    with closing(Grpc(service) if service.scheme == "grpc" else Rest(service)) as transport:
        outcome = transport._attempt(calls.activate(1), tries)
    assert outcome.reach is Reach.NOWHERE, outcome


@contextmanager
def crowded_url(free_s):
    """Where a gRPC server is that takes no call for so long, and then says that one thing was stored."""
    begun, free = threading.Event(), threading.Event()

    def meet(_, __):
        begun.set()
        free.wait(20)
        return pb.Stored(sequence=7).SerializeToString()

    methods = dict.fromkeys(("DeleteVideo", "ActivateGeneration"), grpc.unary_unary_rpc_method_handler(meet))
    server = grpc.server(ThreadPoolExecutor(2), maximum_concurrent_rpcs=1)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("segsearch.v1.SegmentSearch", methods),))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    with grpc.insecure_channel(address) as channel:
        first = channel.unary_unary("/segsearch.v1.SegmentSearch/DeleteVideo").future(b"")
        assert begun.wait(20)
        opens = threading.Timer(free_s, free.set)
        opens.start()
        yield f"grpc://{address}"
        opens.cancel()
        free.set()
        first.result(20)
    server.stop(None).wait(20)


@both
def test_a_call_that_a_server_had_no_place_for_is_asked_again_where_one_that_is_unavailable_is(ask):
    patient = {"retries": Retries(attempts=100, first_s=0.05, longest_s=0.05), "timeout_s": 15.0}
    with crowded_url(free_s=0.3) as url:
        assert ask(url, "delete", "v", client=patient).sequence == 7
    with crowded_url(free_s=10.0) as url, pytest.raises(ServiceRefused, match="Concurrent RPC limit"):
        ask(url, "activate", 1, client=patient)


@both
def test_a_server_that_says_nothing_is_too_slow_over_grpc(ask):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises((ServiceTooSlow, ServiceUnreachable)):
            ask(f"grpc://127.0.0.1:{silent.getsockname()[1]}", "tags", client=SOON | {"timeout_s": 0.5})


@both
def test_a_server_shows_a_certificate_that_is_trusted(ask, library, tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    with rpc_url(library, Settings(port=0, tls_certificate=certificate, tls_key=key, shutdown_s=5)) as url:
        assert ask(url, "tags", client={"verify": authority.file}).generation == 1
        with pytest.raises(ServiceUnreachable):
            ask(url, "tags", client=SOON)
        with pytest.raises(ConfigError, match="verify"):
            ask(url, "tags", client={"verify": False})


@pytest.mark.parametrize(
    "url", ["grpc://host", "grpc://host:1/path", "grpcs://host:1?query", "grpc://anna:secret@host:1"]
)
def test_an_address_that_is_none_is_named_without_its_password(url):
    with pytest.raises(ConfigError, match="grpc://host:port") as refused:
        Client(url)
    assert "secret" not in str(refused.value)
