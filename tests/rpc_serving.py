"""The real gRPC server on a socket of this machine, and what tests say to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status.rpc_status import from_call

from segsearch.service.library import SegmentLibrary
from segsearch.service.rest.metrics import Metrics
from segsearch.service.rpc.server import RpcServer
from segsearch.service.security.guard import Guard
from segsearch.service.settings import Settings
from segsearch.v1.search_pb2_grpc import SegmentSearchStub

TIMEOUT_S = 30.0
D = TypeVar("D", ErrorInfo, BadRequest, RetryInfo)


@contextmanager
def rpc_serving(library: SegmentLibrary, settings: Settings | None = None) -> Iterator[grpc.Channel]:
    """A channel to a server of the library, for as long as the block lasts."""
    settings = settings or Settings(shutdown_s=5)
    server = RpcServer(library, settings, Guard.of(settings), Metrics(library))
    address = server.bind(0)
    server.start()
    with grpc.insecure_channel(address) as channel:
        try:
            yield channel
        finally:
            server.drain()
            server.close()


@contextmanager
def stub_of(library: SegmentLibrary, settings: Settings | None = None) -> Iterator[SegmentSearchStub]:
    """The methods of such a server."""
    with rpc_serving(library, settings) as channel:
        yield SegmentSearchStub(channel)


def failure(call: object, *arguments: object, **named: object) -> grpc.RpcError:
    """What a call that must fail raises."""
    with pytest.raises(grpc.RpcError) as raised:
        list(call(*arguments, timeout=TIMEOUT_S, **named))  # type: ignore[operator]  # a stream fails when it is read
    return raised.value


def reason(error: grpc.RpcError) -> str:
    """The error's code as REST has it, too."""
    return info(error).reason


def info(error: grpc.RpcError) -> ErrorInfo:
    """The one ErrorInfo that every error has."""
    (found,) = details(error, ErrorInfo)
    assert found.domain == "segsearch"
    return found


def details(error: grpc.RpcError, kind: type[D]) -> list[D]:
    """An error's details of one kind."""
    status: Status | None = from_call(error)
    assert status is not None, error
    found = []
    for packed in status.details:
        message = kind()
        if packed.Unpack(message):
            found.append(message)
    return found
