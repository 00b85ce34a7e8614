"""Sends calls over gRPC, sync and async. Only this file opens channels."""

import ssl
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import grpc
import grpc.aio

from segsearch.client.calls import Answer, Call
from segsearch.client.outcomes import Outcome, Told
from segsearch.client.retries import Tries
from segsearch.client.rpcs import Rpc, outcome_of
from segsearch.client.sending import Service, later, sent, sent_async
from segsearch.core.errors import ConfigError
from segsearch.v1.search_pb2_grpc import SegmentSearchStub

# An answer may be long. How often a call is repeated, and when, is decided in `retries`; a channel that failed to
# connect must not keep its next calls from trying.
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1), ("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50), ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
)  # fmt: skip


class Grpc:
    """See Transport."""

    def __init__(self, service: Service):
        self._service = service
        target, credentials = _target(service), _credentials(service)
        self._channel = (
            grpc.secure_channel(target, credentials, _OPTIONS)
            if credentials
            else grpc.insecure_channel(target, _OPTIONS)
        )
        self._methods = _methods(self._channel)

    def send(self, call: Call[Answer]) -> Answer:
        return sent(call, self._service.tries(), self._attempt)

    def _attempt(self, call: Call[Any], tries: Tries) -> Outcome:
        rpc = Rpc.of(call)
        try:
            answer = getattr(self._methods, rpc.method)(
                rpc.request(), timeout=tries.left_s, metadata=_metadata(self._service, call)
            )
            return Told(rpc.told(list(answer) if rpc.many_back else [answer]), "OK", None)
        except grpc.RpcError as error:
            return _outcome(error, self._service.url, tries)

    def close(self) -> None:
        self._channel.close()


class AsyncGrpc:
    """See AsyncTransport."""

    def __init__(self, service: Service):
        self._service = service
        self._target, self._credentials = _target(service), _credentials(service)

    @cached_property
    def _channel(self) -> grpc.aio.Channel:
        """Belongs to the event loop that the first call is made on."""
        if self._credentials:
            return grpc.aio.secure_channel(self._target, self._credentials, _OPTIONS)
        return grpc.aio.insecure_channel(self._target, _OPTIONS)

    @cached_property
    def _methods(self) -> Any:
        return _methods(self._channel)

    async def send(self, call: Call[Answer]) -> Answer:
        return await sent_async(call, self._service.tries(), self._attempt)

    async def _attempt(self, call: Call[Any], tries: Tries) -> Outcome:
        rpc = Rpc.of(call)
        request, method = rpc.request(), getattr(self._methods, rpc.method)
        try:
            sent_later = later(request) if isinstance(request, Iterator) else request
            answer = method(sent_later, timeout=tries.left_s, metadata=_metadata(self._service, call))
            return Told(rpc.told([part async for part in answer] if rpc.many_back else [await answer]), "OK", None)
        except grpc.RpcError as error:
            return _outcome(error, self._service.url, tries)

    async def close(self) -> None:
        if "_channel" in self.__dict__:
            await self._channel.close()


def _methods(channel: grpc.Channel | grpc.aio.Channel) -> Any:
    """The service's methods by name; what is generated for them has no types."""
    return SegmentSearchStub(channel)  # type: ignore[no-untyped-call]


def _target(service: Service) -> str:
    return urlsplit(service.url).netloc


def _metadata(service: Service, call: Call[Any]) -> tuple[tuple[str, str], ...]:
    told = {"authorization": service.key and f"Bearer {service.key}", "idempotency-key": call.key}
    return tuple((name, text) for name, text in told.items() if text)


def _credentials(service: Service) -> grpc.ChannelCredentials | None:
    """What a `grpcs://` server must show; None without TLS."""
    if service.scheme == "grpc":
        return None
    verify = service.verify
    if verify is False or isinstance(verify, ssl.SSLContext):
        raise ConfigError("verify", verify, "True or a file of certificates, as gRPC takes no other")
    return grpc.ssl_channel_credentials(verify.read_bytes() if isinstance(verify, Path) else None)


def _outcome(error: Any, url: str, tries: Tries) -> Outcome:
    """A failed call knows these of itself, whichever kind of channel it was made on."""
    return outcome_of(error.code().name, error.details() or "", error.trailing_metadata() or (), url, tries)
