"""What Prometheus reads from a real server."""

from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.library import SegmentLibrary
from segsearch.service.settings import Settings
from tests.hostile_bodies import NPY, npy_of
from tests.library_fixtures import serving
from tests.tiny_model import SPEC

FRAMES = np.zeros((12, SPEC.size), np.uint8)  # three segments


@pytest.fixture
def client(served_library) -> Iterator[httpx.Client]:
    """A server of its own, so that every count begins at 0."""
    with serving(served_library, Settings(port=0)) as opened:
        yield opened


def samples(client: httpx.Client) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample by its name and the values of its labels, which come in the order of their names."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, tuple(sample.labels.values())): sample.value for family in families for sample in family.samples
    }


def test_requests_are_counted_by_route_and_status_and_refusals_by_reason(client):
    for tag in ("Rain", "Rain", "nothing"):
        client.get("/search", params={"tag": tag})
    client.get("/wp-admin/setup.php")
    client.get("/../../etc/passwd")
    found = samples(client)
    assert found["segsearch_http_requests_total", ("/search", "200")] == 2
    assert found["segsearch_http_requests_total", ("/search", "404")] == 1
    assert found["segsearch_http_requests_total", ("unknown", "404")] == 2
    assert found["segsearch_refusals_total", ("unknown-tag",)] == 1
    assert found["segsearch_refusals_total", ("not-found",)] == 2


def test_a_route_is_named_as_the_documentation_names_it(client):
    client.get("/jobs/no-such-job")
    route = "/jobs/{job_id}"
    assert route in client.get("/openapi.json").json()["paths"]
    assert ("segsearch_http_request_duration_seconds_count", (route,)) in samples(client)


def test_every_request_is_timed_in_seconds(client):
    client.get("/tags")
    found = samples(client)
    assert found["segsearch_http_request_duration_seconds_count", ("/tags",)] == 1
    assert found["segsearch_http_request_duration_seconds_bucket", ("+Inf", "/tags")] == 1
    assert 0 < found["segsearch_http_request_duration_seconds_sum", ("/tags",)] < 60


def test_segments_are_counted_as_they_are_scored(client):
    for _ in range(2):
        client.post("/score", content=npy_of(FRAMES), headers={"content-type": NPY})
    client.post("/score", content=npy_of(FRAMES[:0]), headers={"content-type": NPY})
    assert samples(client)["segsearch_scored_segments_total", ()] == 6


def test_the_generation_and_the_bundle_in_use_are_named(client, served_library, tiny_bundle):
    found, manifest = samples(client), served_library.view().manifest
    assert found["segsearch_bundle_info", (tiny_bundle.digest, "tiny", "1")] == 1
    assert found["segsearch_generation_info", ("tiny", tiny_bundle.digest, "1", "1")] == 1
    assert found["segsearch_generation_segments", ()] == manifest.segment_count
    assert found["segsearch_generation_videos", ()] == manifest.video_count


def test_two_servers_do_not_count_each_others_requests(client, served_library):
    client.get("/tags")
    with serving(served_library, Settings(port=0)) as other:
        assert ("segsearch_http_requests_total", ("/tags", "200")) not in samples(other)


def test_a_server_without_an_index_has_metrics_and_no_generation(tmp_path, scorer):
    with serving(SegmentLibrary(scorer, IndexDirectory(tmp_path))) as client:
        found = samples(client)
    assert [name for name, _ in found if name.startswith("segsearch_generation")] == []
    assert [name for name, _ in found if name == "segsearch_bundle_info"] != []


def test_names_end_in_base_units(client):
    client.get("/tags")
    names = {name for name, _ in samples(client) if name.startswith("segsearch_")}
    bad = [name for name in names if any(unit in name for unit in ("_ms", "_millis", "_kb", "_mb", "percent"))]
    assert bad == []
