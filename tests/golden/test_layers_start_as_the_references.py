"""Fresh variables are spread as the references' are: init_stats_*.json hold mean, deviation and range of each.

Which of our variables is which of theirs is what the importer says: it is given variables that hold their own number.
"""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from segsearch.training.models.bodies import body_of
from segsearch.training.reference.checkpoints import Reference, converted

CASES = {
    "google": ("google DbofModel+MoeModel", "google DbofModel+LogisticModel", "google LstmModel+MoeModel"),
    "willow": (
        "willow NetVLADModelLF",
        "willow NetVLADModelLF light",
        "willow NetFVModelLF",
        "willow GatedDbofModelLF",
        "willow SoftDbofModelLF",
        "willow GruModel",
        "willow LstmModel",
    ),
    "nextvlad": ("linrongc NeXtVLADModel", "linrongc MixNeXtVladModel"),
}
NAMES = [(file, name) for file, names in CASES.items() for name in names]
STEP = 1000.0  # between numbers, so that what conversion adds to a bias does not hide them


@pytest.fixture(scope="module", params=NAMES, ids=[name.replace(" ", "_") for _, name in NAMES])
def fresh(request, golden):
    """A reference's statistics, our fresh body, and (our values, whose shift taken off, a reference variable)."""
    file, name = request.param
    document = json.loads((golden / f"init_stats_{file}.json").read_text())[name]
    statistics = {key: value for key, value in document["variables"].items() if not key.startswith("_")}
    numbered = {
        key: np.full(value["shape"], STEP * number, np.float32)
        for number, (key, value) in enumerate(statistics.items(), start=1)
    }
    system, model = name.split()[:2]
    meta = {"model": model.split("+")[0], "repo": system, "flags": document["flags"]}
    found = converted(Reference.of(Path(file), meta, numbered))
    keras.utils.set_random_seed(1)
    body = body_of(found.body, found.features.streams, found.classes)
    body.build((None, None, found.features.size))
    return document["variables"], body, _by_reference(body, found.weights, list(statistics))


def _by_reference(body, numbers, names):
    """The reference's name -> all our fresh values that it would be read into."""
    values = {name: [] for name in names}
    for variable in body.weights:
        number = numbers[variable.path.partition("/")[2]]
        for theirs in np.unique(number // STEP):
            here = number // STEP == theirs
            values[names[int(theirs) - 1]].append((variable.numpy() - number % STEP)[here])
    return {name: np.concatenate(parts) for name, parts in values.items()}


def test_every_variable_starts_with_the_references_mean_and_deviation(fresh):
    statistics, _, values = fresh
    for name, ours in values.items():
        theirs = statistics[name]
        assert ours.size == np.prod(theirs["shape"]), name
        error = theirs["std"] / np.sqrt(ours.size)  # of a mean; both sides are samples
        assert abs(ours.mean() - theirs["mean"]) <= 6 * error + 1e-6, name
        assert abs(ours.std() - theirs["std"]) <= 6 * error + 1e-6, name


def test_every_variable_starts_within_the_references_range(fresh):
    # Uniform and cut normal starts end where the reference's end; an uncut normal's tail is a matter of luck.
    statistics, _, values = fresh
    for name, ours in values.items():
        theirs = statistics[name]
        tail = 1.35 * max(theirs["max"] - theirs["mean"], theirs["mean"] - theirs["min"])
        assert np.abs(ours - theirs["mean"]).max() <= tail + 1e-6, name


def test_as_many_terms_regularise_and_as_many_statistics_move_as_in_the_reference(fresh):
    statistics, body, _ = fresh
    assert len(body.losses) == len(statistics["_regularisation_losses"])
    assert len(body.non_trainable_weights) == statistics["_n_update_ops"]


def test_as_many_variables_are_trained_as_in_the_reference(fresh):
    statistics, body, _ = fresh
    trained = sum(
        np.prod(entry["shape"]) for name, entry in statistics.items() if name[0] != "_" and entry["trainable"]
    )
    assert sum(variable.numpy().size for variable in body.trainable_variables) == trained
