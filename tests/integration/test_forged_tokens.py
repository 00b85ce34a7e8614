"""Page tokens and keys that somebody made up, changed, or brought from elsewhere: neither edge takes one."""

import base64
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import grpc
import httpx
import pytest
from google.protobuf.message import Message

from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.jobs.reindex import reindex
from segsearch.service.library import SegmentLibrary
from segsearch.service.settings import Settings
from segsearch.v1 import search_pb2 as pb
from segsearch.v1.search_pb2_grpc import SegmentSearchStub
from tests.library_fixtures import serving
from tests.rpc_serving import TIMEOUT_S, reason, rpc_serving

GOOD, FORGED, UNKNOWN = [""] * 2, ["invalid-page-token"] * 2, ["unauthorised"] * 2  # what REST and gRPC say
LETTERS = string.ascii_letters + string.digits + "-_"


class Edges(NamedTuple):
    """Both edges of one library."""

    rest: httpx.Client
    rpc: SegmentSearchStub


@pytest.fixture(scope="module")
def edges(served_library) -> Iterator[Edges]:
    with serving(served_library, Settings(port=0)) as rest, rpc_serving(served_library) as channel:
        yield Edges(rest, SegmentSearchStub(channel))


@pytest.fixture(scope="module")
def token(edges) -> str:
    """A good one."""
    return str(edges.rest.get("/search", params={"tag": "Rain", "k": 5}).json()["next_page_token"])


def said(answer: httpx.Response, call: Callable[..., object], request: Message, **named: object) -> list[str]:
    """What both edges call it; nothing where they answer."""
    by_rest = "" if answer.is_success else answer.json()["type"].removeprefix("/problems/")
    try:
        call(request, timeout=TIMEOUT_S, **named)
    except grpc.RpcError as error:
        return [by_rest, reason(error)]
    return [by_rest, ""]


def said_of_token(edges: Edges, token: str, **query: object) -> list[str]:
    asked = {"tag": "Rain", "k": 5, "page_token": token, **query}
    return said(edges.rest.get("/search", params=asked), edges.rpc.Search, pb.SearchRequest(**asked))


def other_letters(text: str) -> Iterator[str]:
    """The text with another letter at each place but the last, of which not every bit counts."""
    for place, letter in enumerate(text[:-1]):
        yield text[:place] + LETTERS[(LETTERS.index(letter) + 1) % len(LETTERS)] + text[place + 1 :]


def test_a_token_is_taken_as_it_is_and_with_no_letter_changed(edges, token):
    assert said_of_token(edges, token) == GOOD
    forged = list(other_letters(token))
    assert len(forged) > 80
    for wrong in forged:
        assert said_of_token(edges, wrong) == FORGED, wrong


def test_a_token_that_is_cut_or_goes_on_or_has_no_signature_is_refused(edges, token):
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    without, empty = raw[:-32], raw[:-32] + bytes(32)
    for wrong in (token[:-4], token[4:], token + "AAAA", token * 2, " " + token, token.swapcase(), "A" * len(token)):
        assert said_of_token(edges, wrong) == FORGED, wrong
    for content in (without, empty, raw[-32:], raw[::-1]):
        assert said_of_token(edges, base64.urlsafe_b64encode(content).rstrip(b"=").decode()) == FORGED


@pytest.mark.parametrize("other", [{"tag": "Cat"}, {"tag": "rain"}, {"min_score": 0.01}, {"per_video": 2}])
def test_a_token_is_good_for_its_query_alone_at_both_edges(edges, token, other):
    assert said_of_token(edges, token, **other) == FORGED


def test_a_token_of_another_server_with_the_same_library_is_refused(edges, scorer, shards, tmp_path):
    index = IndexDirectory(tmp_path / "index")
    reindex(scorer, shards, index, keep=1000, embeddings=True)
    with serving(SegmentLibrary(scorer, index), Settings(port=0)) as elsewhere:
        theirs = elsewhere.get("/search", params={"tag": "Rain", "k": 5}).json()["next_page_token"]
        assert elsewhere.get("/search", params={"tag": "Rain", "page_token": theirs}).status_code == 200
    assert said_of_token(edges, theirs) == FORGED


@pytest.fixture(scope="module")
def locked(served_library, keys) -> Iterator[Edges]:
    """Both edges, with keys."""
    settings = Settings(port=0, keys=Path(keys["file"]), shutdown_s=5)
    with serving(served_library, settings) as rest, rpc_serving(served_library, settings) as channel:
        yield Edges(rest, SegmentSearchStub(channel))


def said_of_key(edges: Edges, key: str) -> list[str]:
    answer = edges.rest.get("/tags", headers={"x-api-key": key})
    return said(answer, edges.rpc.ListTags, pb.ListTagsRequest(), metadata=[("x-api-key", key)])


def test_a_key_is_let_in_as_it_is_and_with_no_letter_of_its_secret_changed(locked, keys):
    prefix, name, secret = keys["read"].split(".")
    assert said_of_key(locked, keys["read"]) == GOOD
    for wrong in (*other_letters(secret), secret[:-1], secret + "A", "", secret.swapcase()):
        assert said_of_key(locked, f"{prefix}.{name}.{wrong}") == UNKNOWN, wrong


def test_a_secret_is_good_under_its_own_name_alone(locked, keys):
    prefix, _, secret = keys["read"].split(".")
    for name in ("write", "admin", "wrong", "READ", "read ", "", "*", "../read"):
        assert said_of_key(locked, f"{prefix}.{name}.{secret}") == UNKNOWN, name
    for wrong in (secret, f"read.{secret}", f"{prefix}.read", f"{prefix}.read.{secret}.admin"):
        assert said_of_key(locked, wrong) == UNKNOWN, wrong


def test_what_a_key_may_not_do_is_forbidden_at_both_edges(locked, keys):
    answer = locked.rest.post("/generations/1:activate", headers={"x-api-key": keys["read"]})
    asked, metadata = pb.ActivateGenerationRequest(number=1), [("x-api-key", keys["read"])]
    assert said(answer, locked.rpc.ActivateGeneration, asked, metadata=metadata) == ["forbidden"] * 2
