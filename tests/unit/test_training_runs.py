"""Every experiment says how it is run and keeps what the paper fixes; none needs TensorFlow to be read."""

import importlib
import pkgutil

import pytest

from segsearch.training import runs
from segsearch.training.aggregations import GRUConfig, LSTMConfig
from segsearch.training.config import AverageConfig

NAMES = sorted(module.name for module in pkgutil.iter_modules(runs.__path__))
YOUTUBE8M = [name for name in NAMES if name.endswith("_yt8m")]
# What the systems' authors published: learning rate, its decay and each how many examples, batch, epochs; and sizes,
# clusters and hidden units or cells. From their repositories' commands and write-ups; where epochs are given as a range
# (skalic: 7 to 20), ours lie within.
PUBLISHED = {
    "dbof": (0.01, 0.95, 4_000_000, 1024, 5, (8192, 1024)),
    "soft_dbof": (2e-4, 0.8, 4_000_000, 80, 10, (8000, 1024)),
    "gated_dbof": (2e-4, 0.8, 4_000_000, 80, 10, (4096, 1024)),
    "netvlad": (2e-4, 0.8, 4_000_000, 160, 10, (256, 1024)),
    "netvlad_light": (2e-4, 0.8, 4_000_000, 160, 10, (256, 1024)),
    "netvlagd": (2e-4, 0.8, 4_000_000, 80, 10, (256, 1024)),
    "netfv": (2e-4, 0.8, 4_000_000, 80, 10, (128, 1024)),
    "nextvlad": (2e-4, 0.8, 2_000_000, 160, 5, (128, 2048)),
    "lstm": (1e-3, 0.95, 4_000_000, 1024, 5, (1024,)),
    "lstm_moe": (2e-4, 0.8, 4_000_000, 256, 10, (1024,)),
    "lstm_logistic": (2e-4, 0.8, 4_000_000, 256, 10, (1024,)),
    "gru": (2e-4, 0.9, 4_000_000, 128, 10, (1200,)),
    "mixnextvlad": (2e-4, 0.8, 2_500_000, 160, 15, (112, 2048)),
}


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


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_youtube8m_run_trains_as_its_authors_published(name):
    run = run_of(f"{name}_yt8m")
    *training, sizes = PUBLISHED[name]
    stage = run.stage1
    found = [stage.learning_rate, stage.decay, stage.decay_examples, stage.batch_size, stage.epochs]
    assert found == training
    towers = run.network.mix.towers if run.network.mix else [run.network.body]
    assert {sizes_of(tower.aggregation) for tower in towers} == {sizes}


def sizes_of(aggregation):
    if isinstance(aggregation, LSTMConfig | GRUConfig):
        return (aggregation.cells,)
    hidden = aggregation.hidden
    return (aggregation.clusters, hidden if isinstance(hidden, int) else hidden.units)


def test_every_structure_but_the_papers_own_steps_has_published_settings():
    steps = {"dbof_plain", "dbof_context", "mixdbof", "mixdbof_teacher"}
    assert {name.removesuffix("_yt8m") for name in YOUTUBE8M} == PUBLISHED.keys() | steps
