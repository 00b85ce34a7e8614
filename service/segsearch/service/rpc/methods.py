"""Functions of ours as methods that a gRPC server runs: one message or many, in and out.

Where it stands: `servicer`, `health` and `server` make their methods by it; `calls` is what each one runs inside.

gRPC runs a method on a thread of its pool before the request is there, and waits for it without end. So all are streams
to gRPC, which looks the same from outside: they take the request themselves, and it may take only so long.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from segsearch.core.errors import InputTooLarge, InvalidInput
from segsearch.service.bounded import Asked
from segsearch.service.rpc.calls import REQUEST_S, TAKE_S, Call, Calls

REQUEST_LIMIT_BYTES: Final = 1 << 20  # of a request without frames: two bytes of a list can become a hundred

M = TypeVar("M", bound=Message)


def decoded(kind: type[M], message: bytes, limit_bytes: int | None = REQUEST_LIMIT_BYTES) -> M:
    """A message of that kind; raises InputTooLarge or InvalidInput. limit_bytes: None where gRPC's own limit is all."""
    if limit_bytes is not None and len(message) > limit_bytes:
        raise InputTooLarge("request", f"{len(message)} bytes", f"at most {limit_bytes}")
    try:
        parsed: M = kind.FromString(message)
    except DecodeError as error:
        raise InvalidInput("request", f"not a protobuf message ({str(error)[:80]})", kind.DESCRIPTOR.name) from None
    return parsed


def unary(calls: Calls, method: str, limit_s: float, run: Callable[[bytes, Call], bytes]) -> grpc.RpcMethodHandler:
    """One message in, one out."""

    def behave(incoming: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        with calls.begin(method, context) as call:
            call.admit()
            return run(call.request(incoming, limit_s), call)

    return grpc.stream_unary_rpc_method_handler(behave)


def plain(
    calls: Calls, method: str, kind: type[M], run: Callable[[M], Message], asked: Callable[[M], Asked] | None = None
) -> grpc.RpcMethodHandler:
    """One short message of a kind in, one out. asked: what an audit line says of the message, taken or refused."""

    def from_bytes(message: bytes, call: Call) -> bytes:
        request = decoded(kind, message)
        if asked is not None:
            call.asked = asked(request)
        answer: bytes = run(request).SerializeToString()
        return answer

    return unary(calls, method, REQUEST_S, from_bytes)


def client_streaming(calls: Calls, method: str, run: Callable[[Iterator[bytes], Call], bytes]) -> grpc.RpcMethodHandler:
    """Many messages in, one out; `run` says how long they may take."""

    def behave(incoming: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        with calls.begin(method, context) as call:
            call.admit()
            return run(incoming, call)

    return grpc.stream_unary_rpc_method_handler(behave)


def server_streaming(
    calls: Calls, method: str, run: Callable[[Iterator[bytes], Call], Iterable[bytes]], *, lasting: bool = False
) -> grpc.RpcMethodHandler:
    """Any messages in, many out; none is made that nobody waits for."""

    def behave(incoming: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        with calls.begin(method, context) as call:
            call.lasting = lasting
            call.admit()
            for message in run(incoming, call):
                call.waits(TAKE_S)
                yield message
                call.works()
                call.check_wanted()

    return grpc.stream_stream_rpc_method_handler(behave)
