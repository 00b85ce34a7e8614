"""The examples of docs/inference.md, run as they stand there but for the server's addresses.

Those that want Triton's own client are tried by hand: it is no dependency of ours.
"""

import dataclasses
import re

import numpy as np
import pytest

from segsearch.core.bundle import Bundle, write_bundle
from segsearch.core.features import YOUTUBE8M
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.jobs.reindex import reindex
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from tests.conftest import ROOT
from tests.integration.test_serving_grpc import served
from tests.library_fixtures import make_videos, write_shards
from tests.tiny_model import TinyModel, tiny_manifest, vocabulary_of

TEXT = (ROOT / "docs/inference.md").read_text()
EXAMPLES = [each for each in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "tritonclient" not in each]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the reader stands, with a `frames.npy` of 12 s."""
    folder = tmp_path_factory.mktemp("reader")
    np.save(folder / "frames.npy", np.random.default_rng(1).integers(0, 256, (12, YOUTUBE8M.size), np.uint8))
    return folder


@pytest.fixture(scope="module")
def here(folder):
    """Says the document with the addresses of a server whose model is `dbof`."""
    vocabulary = vocabulary_of(("Rain", "Dog", "Cat"))
    model = TinyModel.seeded(3, YOUTUBE8M.size)
    manifest = dataclasses.replace(tiny_manifest(model, vocabulary, YOUTUBE8M), name="dbof")
    bundle = Bundle.open(write_bundle(folder, manifest, vocabulary, model.onnx().SerializeToString()))
    index = IndexDirectory(folder / "index")
    with OnnxScorer(bundle, batch=8, threads=1) as scorer:
        reindex(scorer, write_shards(folder, make_videos(1, spec=YOUTUBE8M), 1, YOUTUBE8M), index, keep=10)
    with served(index, bundle, "--no-live") as (told, _):
        yield lambda text: text.replace("http://127.0.0.1:8000", told["url"]).replace("127.0.0.1:50051", told["grpc"])


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_runs_and_prints_something(folder, here, example, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert here(example) != example
    exec(compile(here(example), "docs/inference.md", "exec"), {})
    assert capsys.readouterr().out
