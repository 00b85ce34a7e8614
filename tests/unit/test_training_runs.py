"""Every experiment says how it is run and keeps what the paper fixes; none needs TensorFlow to be read."""

import importlib
import pkgutil

import pytest

from segsearch.training import runs
from segsearch.training.aggregations import GRUConfig, LSTMConfig
from segsearch.training.config import AverageConfig

NAMES = sorted(module.name for module in pkgutil.iter_modules(runs.__path__))
YOUTUBE8M = [name for name in NAMES if name.endswith("_yt8m")]


def run_of(name):
    return importlib.import_module(f"{runs.__name__}.{name}").RUN


def is_recurrent(run):
    return isinstance(run.network.aggregation, LSTMConfig | GRUConfig)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_named_as_its_file_and_documents_itself(name):
    words = importlib.import_module(f"{runs.__name__}.{name}").__doc__
    assert run_of(name).name == name
    assert f"segsearch train {name} --data " in words
    for fact in ("Hardware:", "Rated MAP@100k"):
        assert fact in words


def test_every_structure_has_a_run_on_both_data_sets():
    structures = {name.removesuffix("_yt8m") for name in YOUTUBE8M}
    assert structures == {name.removesuffix("_audioset") for name in NAMES if name.endswith("_audioset")}


@pytest.mark.parametrize("name", YOUTUBE8M)
def test_a_youtube8m_run_fine_tunes_as_the_paper_does(name):
    run = run_of(name)
    assert run.stage2.learning_rate == pytest.approx(run.stage1.learning_rate / 10)
    assert (run.stage2.epochs, run.stage2.frame_draw) == (10, "all")
    assert run.stage1.average is None
    if name not in ("dbof_plain_yt8m", "dbof_context_yt8m"):  # the rows of Table 1 before EMA
        assert isinstance(run.stage2.average, AverageConfig)


@pytest.mark.parametrize("name", YOUTUBE8M)
def test_a_youtube8m_run_sees_the_frames_that_the_paper_shows(name):
    run = run_of(name)
    if is_recurrent(run):
        assert (run.stage1.frame_draw, run.context_frames) == ("all", 15)
    else:
        assert (run.stage1.frame_draw, run.stage1.frames) == ("random", 15)
        assert run.context_frames == (0 if name == "dbof_plain_yt8m" else 5)
