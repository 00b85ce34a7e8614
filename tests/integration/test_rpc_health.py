"""`grpc.health.v1`: what it tells, to how many, and how it ends."""

import threading
import time

import grpc
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.jobs.reindex import reindex
from segsearch.service.library import SegmentLibrary
from segsearch.service.rpc.health import WATCH_LIMIT
from segsearch.service.settings import Settings
from tests.rpc_serving import TIMEOUT_S, failure, reason, rpc_serving


def test_health_tells_what_readyz_tells(scorer, shards, tmp_path):
    (tmp_path / "index").mkdir()
    directory = IndexDirectory(tmp_path / "index")
    library = SegmentLibrary(scorer, directory)
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    with rpc_serving(library, Settings(shutdown_s=5)) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watched = health.Watch(health_pb2.HealthCheckRequest(service="segsearch.v1.SegmentSearch"), timeout=TIMEOUT_S)
        assert next(watched).status == not_serving
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S).status == not_serving
        reindex(scorer, shards, directory, keep=100)
        library.refresh()
        assert next(watched).status == serving  # nobody asked: the server looks every second
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S).status == serving
        unknown = failure(health.Check, health_pb2.HealthCheckRequest(service="nothing"))
        assert unknown.code() is StatusCode.NOT_FOUND
        watched.cancel()


def test_those_who_watch_hear_that_the_server_ends_and_do_not_hold_it_up(served_library):
    with rpc_serving(served_library, Settings(shutdown_s=20)) as channel:
        watched = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
        began_s = time.monotonic()
        heard = threading.Thread(target=lambda: told.append(next(watched).status))
        told: list[int] = []
        heard.start()
    heard.join(TIMEOUT_S)
    assert told == [health_pb2.HealthCheckResponse.NOT_SERVING]
    assert time.monotonic() - began_s < 15


def test_so_many_may_watch_and_no_more(served_library):
    asked = health_pb2.HealthCheckRequest()
    with rpc_serving(served_library, Settings(shutdown_s=5)) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watched = []
        for _ in range(WATCH_LIMIT // 2):  # half is left for others
            watched.append(health.Watch(asked, timeout=TIMEOUT_S))
            assert next(watched[-1]).status == health_pb2.HealthCheckResponse.SERVING
        refused = failure(health.Watch, asked)
        assert (refused.code(), reason(refused)) == (StatusCode.UNAVAILABLE, "too-many-calls")
        assert refused.details().startswith(f"{len(watched)} calls")
        assert health.Check(asked, timeout=TIMEOUT_S).status == health_pb2.HealthCheckResponse.SERVING
        watched.pop().cancel()
        deadline = time.monotonic() + TIMEOUT_S
        while True:  # the server hears of it soon
            again = health.Watch(asked, timeout=TIMEOUT_S)
            try:
                assert next(again).status == health_pb2.HealthCheckResponse.SERVING
                break
            except grpc.RpcError:
                assert time.monotonic() < deadline
        for each in (*watched, again):
            each.cancel()
