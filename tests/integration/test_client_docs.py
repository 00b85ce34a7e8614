"""The examples and commands of docs/client.md, run as they stand there but for the server's address."""

import re

import numpy as np
import pytest

from segsearch.core.bundle import Bundle
from segsearch.core.features import YOUTUBE8M
from segsearch.core.videos import Video
from segsearch.service.index.format import LIVE
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.live.store import LiveStore
from segsearch.service.jobs.reindex import reindex
from segsearch.service.library import SegmentLibrary
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from tests.conftest import ROOT
from tests.documents import shell_lines
from tests.library_fixtures import make_videos, serving, write_shards
from tests.tiny_model import write_tiny_bundle

DOCUMENT = "docs/client.md"
HERE = "http://127.0.0.1:8000"
EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / DOCUMENT).read_text(), re.DOTALL)
COMMANDS = [words[1:] for words in shell_lines(DOCUMENT) if words[0] == "segsearch" and "--url" not in words]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the reader stands: `library.tfrecord`, with a video `a1B2` of 40 s, and `frames.npy`."""
    folder = tmp_path_factory.mktemp("reader")
    frames = np.random.default_rng(1).integers(0, 256, (40, YOUTUBE8M.size), np.uint8)
    named = Video("a1B2", None, frames=frames)
    (shard,) = write_shards(folder, [named, *make_videos(2, spec=YOUTUBE8M)], 1, YOUTUBE8M)
    shard.rename(folder / "library.tfrecord")
    np.save(folder / "frames.npy", np.zeros((12, YOUTUBE8M.size), np.uint8))
    return folder


@pytest.fixture(scope="module")
def url(folder):
    """The reader's server: YouTube-8M's streams, three tags, a live store."""
    bundle = Bundle.open(write_tiny_bundle(folder / "bundles", names=("Rain", "Dog", "Cat"), spec=YOUTUBE8M))
    index = IndexDirectory(folder / "index")
    with OnnxScorer(bundle, batch=8, threads=1) as scorer:
        reindex(scorer, [folder / "library.tfrecord"], index, keep=1000, embeddings=True)
        with (
            LiveStore.open(index.root / LIVE, YOUTUBE8M.space) as store,
            serving(SegmentLibrary(scorer, index, store)) as http,
        ):
            yield str(http.base_url).rstrip("/")


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_runs_and_prints_something(folder, url, example, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert HERE in example
    exec(compile(example.replace(HERE, url), DOCUMENT, "exec"), {})
    assert capsys.readouterr().out


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_runs_and_prints_something(folder, url, words, monkeypatch, command_line):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SEGSEARCH_URL", url)
    code, lines, told = command_line(*words)
    assert (code, bool(lines)) == (0, True), told
