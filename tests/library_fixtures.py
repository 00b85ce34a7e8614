"""A small library with everything real: shards, a bundle, an index, and a server on a socket of this machine."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn

from segsearch.core.bundle import Bundle
from segsearch.core.cli import main
from segsearch.core.features import FeatureSpec
from segsearch.core.records import write_records
from segsearch.core.videos import Ratings, Video, serialise_video
from segsearch.service.index.format import LIVE
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.live.store import LiveStore
from segsearch.service.index.manifest import FileSum
from segsearch.service.jobs.reindex import reindex
from segsearch.service.library import SegmentLibrary
from segsearch.service.rest.app import build
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from segsearch.service.security.key_file import add_key
from segsearch.service.security.keys import Scope, make_key
from segsearch.service.server import bind, uvicorn_config
from segsearch.service.settings import Settings
from tests.tiny_model import SPEC, vocabulary_of, write_tiny_bundle

START_TIMEOUT_S = 60.0  # on a busy machine
SHARDS = 6  # that several workers share


def make_videos(count: int, *, seed: int = 0, prefix: str = "v", spec: FeatureSpec = SPEC) -> list[Video]:
    """Videos of 1 to 40 frames whose codes drift, each with a few ratings of the tiny vocabulary's classes."""
    random = np.random.default_rng(seed)
    labels = [entry.label_index for entry in vocabulary_of().entries]
    videos = []
    for number in range(count):
        frame_count = int(random.integers(1, 41))
        base = random.integers(0, 256, spec.size)
        frames = np.clip(base + random.normal(0, 30, (frame_count, spec.size)), 0, 255).astype(np.uint8)
        starts = np.arange(0, frame_count, 5)
        ratings = Ratings(
            starts, random.choice(labels, len(starts)), random.integers(0, 2, len(starts)).astype(np.float32)
        )
        videos.append(Video(f"{prefix}{number:03d}", None, ratings, frames=frames))
    return videos


def write_shards(folder: Path, videos: list[Video], shard_count: int = 2, spec: FeatureSpec = SPEC) -> list[Path]:
    """Writes the videos, in order, to `library<n>.tfrecord`."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, part in enumerate(np.array_split(np.arange(len(videos)), shard_count)):
        files.append(folder / f"library{number:02d}.tfrecord")
        write_records(files[-1], [serialise_video(videos[row], spec) for row in part])
    return files


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of a model that computes, with eight classes."""
    return Bundle.open(write_tiny_bundle(tmp_path_factory.mktemp("bundles")))


@pytest.fixture(scope="session")
def scorer(tiny_bundle: Bundle) -> Iterator[OnnxScorer]:
    """The tiny bundle's scorer: micro-batches of 8, two at a time."""
    with OnnxScorer(tiny_bundle, batch=8, threads=2) as opened:
        yield opened


@pytest.fixture(scope="module")
def next_scorer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnnxScorer]:
    """Another bundle's scorer, of the same classes."""
    bundle = Bundle.open(write_tiny_bundle(tmp_path_factory.mktemp("next"), seed=8))
    with OnnxScorer(bundle, batch=8, threads=1) as opened:
        yield opened


@pytest.fixture(scope="session")
def videos() -> list[Video]:
    """Thirty videos with ratings."""
    return make_videos(30)


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory, videos: list[Video]) -> list[Path]:
    """The thirty videos in two files."""
    return write_shards(tmp_path_factory.mktemp("shards"), videos)


@pytest.fixture(scope="module")
def many_shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Thirty videos in six files, for several workers to share."""
    return write_shards(tmp_path_factory.mktemp("many"), make_videos(5 * SHARDS), SHARDS)


@pytest.fixture(scope="module")
def alone(
    tmp_path_factory: pytest.TempPathFactory, scorer: OnnxScorer, many_shards: list[Path]
) -> Mapping[str, FileSum]:
    """Size and checksum of every file of the generation that this process makes of the six files."""
    index = IndexDirectory(tmp_path_factory.mktemp("alone"))
    reindex(scorer, many_shards, index, keep=9, scores=True)
    return index.open_current().manifest.files


@pytest.fixture
def index(tmp_path: Path, scorer: OnnxScorer, shards: list[Path]) -> IndexDirectory:
    """An index with the thirty videos as generation 1; every test may damage its own."""
    directory = IndexDirectory(tmp_path / "index")
    reindex(scorer, shards, directory, keep=1000)
    return directory


@pytest.fixture
def library(index: IndexDirectory, scorer: OnnxScorer) -> SegmentLibrary:
    """The thirty videos, searchable."""
    return SegmentLibrary(scorer, index)


@contextmanager
def serving(library: SegmentLibrary, settings: Settings | None = None) -> Iterator[httpx.Client]:
    """A client of the real application on a real socket, for as long as the block lasts."""
    settings = settings or Settings(port=0)
    listening = bind(settings)
    server = uvicorn.Server(uvicorn_config(build(library, settings), settings, None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@pytest.fixture(scope="module")
def served_library(tmp_path_factory: pytest.TempPathFactory, scorer: OnnxScorer, shards: list[Path]) -> SegmentLibrary:
    """A library for tests that only read."""
    directory = IndexDirectory(tmp_path_factory.mktemp("served") / "index")
    reindex(scorer, shards, directory, keep=1000, embeddings=True)
    return SegmentLibrary(scorer, directory)


@pytest.fixture
def live(scorer: OnnxScorer, index: IndexDirectory) -> Iterator[SegmentLibrary]:
    """The thirty videos, and a live store of its own over them."""
    with LiveStore.open(index.root / LIVE, scorer.bundle.manifest.features.space) as store:
        yield SegmentLibrary(scorer, index, store)


@pytest.fixture(scope="module")
def client(served_library: SegmentLibrary) -> Iterator[httpx.Client]:
    """Speaks HTTP with a server of the thirty videos; frames up to 200, bodies up to 100 kB."""
    with serving(served_library, Settings(port=0, frame_limit=200, body_limit_bytes=100_000)) as opened:
        yield opened


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A key of each scope, by scope, one that nobody knows, and the file of them."""
    file = tmp_path_factory.mktemp("keys") / "keys"
    made = {"file": str(file), "wrong": make_key("read", Scope.read)[0]}
    for scope in Scope:
        made[scope.value], kept = make_key(scope.value, scope)
        add_key(file, kept)
    return made


@pytest.fixture
def command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, list[str], str]]:
    """Runs a command line in this process: exit code, lines of stdout, stderr."""

    def run(*arguments: object) -> tuple[int, list[str], str]:
        monkeypatch.setattr(sys, "argv", ["segsearch", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out.splitlines(), told.err

    return run
