"""Which layers a config asks for: a tower, or a mix of towers, from frames to scores.

A new aggregation or head is one file in `layers/`, one config class in `aggregations`, and one line here.
"""

import keras

from segsearch.core.errors import ConfigError
from segsearch.core.features import Stream
from segsearch.training.aggregations import (
    Aggregation,
    DBoFConfig,
    FrameMeanConfig,
    GatedDBoFConfig,
    GRUConfig,
    Head,
    LogisticConfig,
    LogitMoEConfig,
    LSTMConfig,
    MixConfig,
    MoEConfig,
    NetFVConfig,
    NetVLADConfig,
    NeXtVLADConfig,
    ProbabilityGatingConfig,
    SoftDBoFConfig,
    TowerConfig,
)
from segsearch.training.layers.dbof import DBoF
from segsearch.training.layers.frame_mean import FrameMean
from segsearch.training.layers.gated_dbof import gated_dbof
from segsearch.training.layers.gru import GRU
from segsearch.training.layers.logistic import Logistic
from segsearch.training.layers.logit_moe import LogitMoE
from segsearch.training.layers.lstm import LSTM
from segsearch.training.layers.mix import Mix
from segsearch.training.layers.moe import MoE
from segsearch.training.layers.netfv import netfv
from segsearch.training.layers.netvlad import netvlad
from segsearch.training.layers.nextvlad import NeXtVLAD
from segsearch.training.layers.probability_gating import ProbabilityGating
from segsearch.training.layers.soft_dbof import soft_dbof
from segsearch.training.layers.tower import Tower
from segsearch.training.precision import computing_in


def body_of(config: TowerConfig | MixConfig, streams: tuple[Stream, ...], classes: int) -> Tower | Mix:
    """Everything between frames and scores. Variables exist once it is built."""
    if isinstance(config, TowerConfig):
        return tower_of(config, streams, classes, "tower")
    towers = [tower_of(tower, streams, classes, f"tower_{number}") for number, tower in enumerate(config.towers)]
    return Mix(config, towers, name="mix")


def tower_of(config: TowerConfig, streams: tuple[Stream, ...], classes: int, name: str) -> Tower:
    with computing_in("float32"):
        head = head_of(config.head, classes)
    return Tower(aggregation_of(config.aggregation, streams), head, name=name)


def aggregation_of(config: Aggregation, streams: tuple[Stream, ...]) -> keras.layers.Layer:
    """A layer `(frames, frame_mask, training)` from (B, W, F) frames to one (B, H) vector a segment."""
    match config:
        case DBoFConfig():
            return DBoF(config, name="dbof")
        case FrameMeanConfig():
            return FrameMean(name="frame_mean")
        case SoftDBoFConfig():
            return soft_dbof(config, streams)
        case GatedDBoFConfig():
            return gated_dbof(config, streams)
        case NetVLADConfig():
            return netvlad(config, streams)
        case NetFVConfig():
            return netfv(config, streams)
        case NeXtVLADConfig():
            return NeXtVLAD(config, streams, name="nextvlad")
        case LSTMConfig():
            return LSTM(config, name="lstm")
        case GRUConfig():
            return GRU(config, name="gru")
    raise ConfigError("aggregation", config, "one of the aggregations in segsearch.training.aggregations")


def head_of(config: Head, classes: int) -> keras.layers.Layer:
    """A layer from (B, H) embeddings to (B, C) probabilities."""
    match config:
        case MoEConfig():
            return MoE(config, classes, name="moe")
        case LogisticConfig():
            return Logistic(config, classes, name="logistic")
        case LogitMoEConfig():
            return LogitMoE(config, classes, name="logit_moe")
        case ProbabilityGatingConfig():
            return ProbabilityGating(config, head_of(config.head, classes), classes, name="probability_gating")
    raise ConfigError("head", config, "one of the heads in segsearch.training.aggregations")
