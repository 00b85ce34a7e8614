"""Sizes that follow from a network's settings and the data together: how large each part comes out, and whether it can.

Where it stands: layers take their sizes from here; `cli` asks `check_network` before TensorFlow is there, so that a
setting which does not go with the data is refused at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from segsearch.core.errors import ConfigError
from segsearch.core.features import FeatureSpec
from segsearch.training.aggregations import (
    Aggregation,
    ContextGatingConfig,
    DBoFConfig,
    FrameMeanConfig,
    GatedDBoFConfig,
    GRUConfig,
    LSTMConfig,
    MixConfig,
    NetFVConfig,
    NetVLADConfig,
    NeXtVLADConfig,
    ProbabilityGatingConfig,
    SoftDBoFConfig,
)
from segsearch.training.config import NetworkConfig


def check_network(config: NetworkConfig, features: FeatureSpec, classes: int) -> None:
    """Raises ConfigError, naming the first setting that does not go with these streams and classes."""
    towers = {"network": config.body}
    if isinstance(config.body, MixConfig):
        towers = {f"network.mix.towers.{number}": tower for number, tower in enumerate(config.body.towers)}
    for where, tower in towers.items():
        with _field_below(f"{where}.aggregation"):
            embedding = embedding_size(tower.aggregation, features)
        with _field_below(f"{where}.head"):
            if isinstance(tower.head, ProbabilityGatingConfig):
                gate_inputs(tower.head, embedding, classes)


def embedding_size(config: Aggregation, features: FeatureSpec) -> int:
    """H, the size of what an aggregation makes of a segment; ConfigError where these streams do not allow it."""
    match config:
        case DBoFConfig():
            return config.hidden
        case FrameMeanConfig():
            return features.size
        case LSTMConfig() | GRUConfig():
            states = config.layers * (2 if isinstance(config, LSTMConfig) else 1)
            size = config.cells * (states if config.output == "states" else 1)
        case NeXtVLADConfig():
            for number, stream in enumerate(features.streams):
                clusters_of_stream(config, number)
                group_depth(groups_of_stream(config, number), config.expansion * stream.size, stream.name)
            size = config.hidden.units
        case SoftDBoFConfig() | GatedDBoFConfig() | NetVLADConfig() | NetFVConfig():
            counts = [clusters_of_stream(config, number) for number in range(len(features.streams))]
            size = config.hidden.units if config.hidden else _bag_size(config, counts)
    if config.gating is not None and config.gating.form == "squeeze":
        reduced_size(config.gating, size)
    return size


def clusters_of_stream(
    config: SoftDBoFConfig | GatedDBoFConfig | NetVLADConfig | NetFVConfig | NeXtVLADConfig, number: int
) -> int:
    """Clusters of stream `number`: all for the first, a part for the others, which carry less."""
    return _part_of_stream("clusters", config.clusters, config.stream_divisor, number)


def groups_of_stream(config: NeXtVLADConfig, number: int) -> int:
    """Groups of stream `number`, as its clusters."""
    return _part_of_stream("groups", config.groups, config.stream_divisor, number)


def group_depth(groups: int, expanded: int, stream: str) -> int:
    """How many of a stream's expanded features one group has."""
    if expanded % groups:
        raise ConfigError("groups", groups, f"a divisor of {expanded}, the expanded features of {stream}")
    return expanded // groups


def reduced_size(config: ContextGatingConfig, hidden: int) -> int:
    """Units of the thin layer in a squeeze gating of so many hidden units."""
    if config.reduction > hidden:
        raise ConfigError("gating.reduction", config.reduction, f"at most the {hidden} hidden units")
    return hidden // config.reduction


def gate_inputs(config: ProbabilityGatingConfig, embedding: int, classes: int) -> int:
    """How many values a probability gating looks at, the embedding's or the classes'."""
    size = classes if config.input == "scores" else embedding
    if config.remove_diagonal and size < classes:
        raise ConfigError("remove_diagonal", True, f"false, or an embedding of at least {classes} features")
    return size


def _bag_size(config: SoftDBoFConfig | GatedDBoFConfig, counts: list[int]) -> int:
    """The descriptor's size, for so many clusters a stream."""
    with_best = 2 if config.max_pool else 1
    first = 1 if isinstance(config, GatedDBoFConfig) else with_best
    return first * counts[0] + with_best * sum(counts[1:])


@contextmanager
def _field_below(where: str) -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{where}.{error.field}", error.found, error.wanted) from None


def _part_of_stream(name: str, count: int, divisor: int, number: int) -> int:
    if number == 0:
        return count
    if count < divisor:
        raise ConfigError(name, count, f"at least stream_divisor, {divisor}")
    return count // divisor
