"""What those who run a service ask of it by the clients: the model in use, and jobs; over HTTP and gRPC."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from segsearch.client.operation import Job
from segsearch.core.bundle import Bundle
from segsearch.core.errors import IndexBusy, InvalidInput, ModelNotLoaded, NotConfigured, UnknownJob
from segsearch.service.jobs.reindex_process import ReindexJobs
from segsearch.service.library import SegmentLibrary
from segsearch.service.scoring.bundle_folder import BundleFolder
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from segsearch.service.settings import Settings
from tests.asking import Ask, ask_async, ask_sync, both, facts
from tests.integration.test_client_rpc import rpc_url
from tests.library_fixtures import serving
from tests.tiny_model import write_tiny_bundle

JOB_TIMEOUT_S = 120.0
LIMITS = Settings(port=0, shutdown_s=5)


class Served(NamedTuple):
    """One library, at both edges."""

    http: str
    grpc: str
    bundles: list[str]  # digests of "one" and "two"

    @property
    def urls(self) -> tuple[str, str]:
        return self.http, self.grpc


@pytest.fixture
def served(index, shards, tmp_path) -> Iterator[Served]:
    for seed, name in enumerate(("one", "two")):
        write_tiny_bundle(tmp_path / name, seed=seed)
    opened = [Bundle.open(tmp_path / name / "tiny/1") for name in ("one", "two")]
    bundles = BundleFolder(tmp_path, lambda found, tuning=None: OnnxScorer(found, batch=8, threads=1, tuning=tuning))
    jobs = ReindexJobs(index, shards[0].parent, bundles, ["--batch", "8", "--threads", "1"])
    library = SegmentLibrary(OnnxScorer(opened[0], batch=8), index, bundles=bundles, jobs=jobs)
    with ExitStack() as stack:
        http = stack.enter_context(serving(library, LIMITS))
        yield Served(str(http.base_url), stack.enter_context(rpc_url(library, LIMITS)), [one.digest for one in opened])
    library.close()


def ended(ask: Ask, url: str, job: Job) -> Job:
    deadline = time.monotonic() + JOB_TIMEOUT_S
    while job.state == "running":
        assert time.monotonic() < deadline
        time.sleep(0.1)
        job = ask(url, "job", job.id)
    return job


@both
def test_a_model_is_loaded_in_the_place_of_another(ask, served):
    for url, path, digest in zip(served.urls, ("two/tiny", "one/tiny/1"), reversed(served.bundles), strict=True):
        loaded = ask(url, "load_model", path)
        assert (loaded.bundle.digest, loaded.precision) == (digest, "float32")
        assert {ask(other, "model") for other in served.urls} == {loaded}
        assert loaded.refused_load is None
        with pytest.raises(ModelNotLoaded, match="three"):
            ask(url, "load_model", "three/tiny")
        (told,) = {ask(other, "model") for other in served.urls}
        assert (told.refused_load.path, "no manifest.json" in told.refused_load.reason) == ("three/tiny", True)


@both
def test_a_reindex_is_started_followed_and_ends(ask, served):
    for url in served.urls:
        job = ask(url, "reindex", ["library00.*"], bundle="one/tiny", skip_bad=True)
        assert (job.shards, job.bundle, job.error) == (("library00.*",), "one/tiny", None)
        done = ended(ask, url, job)
        assert (done.id, done.state, done.created_at) == (job.id, "done", job.created_at)
        assert done.result.generation == ask(served.http, "generations").numbers[-1]
        assert (done.result.videos > 0, done.result.skipped) == (True, 0)
        assert [facts(ask(other, "job", job.id)) for other in served.urls] == [facts(done)] * 2


def test_a_job_is_cancelled_and_one_runs_at_a_time(served):
    for ask, url in ((ask_sync, served.http), (ask_async, served.grpc)):
        job = ask(url, "reindex", "*.tfrecord")
        for other in served.urls:
            with pytest.raises(IndexBusy):
                ask(other, "reindex", "*.tfrecord")
        assert ask(url, "cancel_job", job.id).state == "cancelled"
        assert ask(url, "cancel_job", job.id).state == "cancelled"


@both
def test_what_cannot_be_is_refused_by_name(ask, served):
    for url in served.urls:
        with pytest.raises(InvalidInput, match="shards"):
            ask(url, "reindex", ["nothing*"])
        with pytest.raises(UnknownJob):
            ask(url, "job", "20260101-000000-00000000")


@both
def test_a_service_without_folders_says_so(ask, served_library):
    with serving(served_library, LIMITS) as http, rpc_url(served_library, LIMITS) as grpc_url:
        for url in (str(http.base_url), grpc_url):
            with pytest.raises(NotConfigured):
                ask(url, "reindex", ["*"])
            with pytest.raises(NotConfigured):
                ask(url, "load_model", "tiny")
