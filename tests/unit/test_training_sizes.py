"""A network that does not go with the data's streams and classes is refused by name, before TensorFlow is there."""

import json
import subprocess
import sys

import pytest

from segsearch.core.errors import ConfigError
from segsearch.core.features import YOUTUBE8M, FeatureSpec
from segsearch.training.config import RunConfig
from segsearch.training.documents import changed
from segsearch.training.sizes import check_network, embedding_size

AUDIO = FeatureSpec.parse("audio:128")
GATED = {"kind": "probability_gating", "input": "embedding", "remove_diagonal": True}


def network(aggregation, **head):
    changes = {"network.aggregation": aggregation, **({"network.head": head} if head else {})}
    return changed(RunConfig(name="trial"), [f"{name}={json.dumps(value)}" for name, value in changes.items()]).network


@pytest.mark.parametrize(
    ("aggregation", "field"),
    [
        ({"kind": "soft_dbof", "clusters": 7}, "clusters"),
        ({"kind": "netvlad", "clusters": 1}, "clusters"),
        ({"kind": "nextvlad", "groups": 1}, "groups"),
        ({"kind": "nextvlad", "groups": 12}, "groups"),
        ({"kind": "nextvlad", "gating": {"form": "squeeze", "reduction": 4096}}, "gating.reduction"),
        ({"kind": "lstm", "cells": 4, "gating": {"form": "squeeze", "reduction": 8}}, "gating.reduction"),
    ],
)
def test_an_aggregation_too_small_for_the_streams_is_refused_by_name(aggregation, field):
    with pytest.raises(ConfigError) as caught:
        check_network(network(aggregation), YOUTUBE8M, 10)
    assert caught.value.field == f"network.aggregation.{field}"


def test_a_lone_stream_needs_no_clusters_for_others():
    check_network(network({"kind": "soft_dbof", "clusters": 7}), AUDIO, 10)


def test_a_tower_of_a_mix_is_named_by_its_number():
    towers = [{}, {"aggregation": {"kind": "netvlad", "clusters": 1}}]
    mix = changed(RunConfig(name="trial"), [f"network.mix={json.dumps({'towers': towers})}"]).network
    with pytest.raises(ConfigError, match=r"network\.mix\.towers\.1\.aggregation\.clusters is 1, wanted at least"):
        check_network(mix, YOUTUBE8M, 10)


def test_a_gating_without_diagonal_needs_an_embedding_as_wide_as_the_classes():
    gated = network({"kind": "dbof", "hidden": 16}, **GATED)
    check_network(gated, AUDIO, 16)
    with pytest.raises(ConfigError, match=r"network\.head\.remove_diagonal is True"):
        check_network(gated, AUDIO, 17)


@pytest.mark.parametrize(
    ("aggregation", "size"),
    [
        ({"kind": "frame_mean"}, 1152),
        ({"kind": "dbof", "hidden": 16}, 16),
        ({"kind": "netvlad", "hidden": {"units": 24}}, 24),
        ({"kind": "soft_dbof", "clusters": 16, "hidden": None, "max_pool": True}, 36),
        ({"kind": "gated_dbof", "clusters": 16, "hidden": None, "max_pool": True}, 20),
        ({"kind": "lstm", "cells": 6, "layers": 3, "output": "states"}, 36),
        ({"kind": "gru", "cells": 6}, 12),
    ],
)
def test_an_embeddings_size_follows_from_the_settings(aggregation, size):
    assert embedding_size(network(aggregation).aggregation, YOUTUBE8M) == size


def test_sizes_are_checked_without_tensorflow():
    program = "import sys, segsearch.training.sizes; sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
