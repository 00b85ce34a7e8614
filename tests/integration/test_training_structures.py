"""Every pooling, head and mix learns, and goes through both stages of a run into a checkpoint that can be loaded."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from segsearch.core.features import FeatureSpec
from segsearch.training.aggregations import (
    ContextGatingConfig,
    DBoFConfig,
    DistillationConfig,
    FrameMeanConfig,
    GatedDBoFConfig,
    GRUConfig,
    HiddenConfig,
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
from segsearch.training.checkpoint import Checkpoint
from segsearch.training.config import NetworkConfig, RunConfig, StageConfig, stage_two
from segsearch.training.models.network import Network
from segsearch.training.objective import objective_of
from segsearch.training.stages import Run
from segsearch.training.trainer import OptimiserStep
from tests.tiny_data import metrics_of, tiny_data

FEATURES = FeatureSpec.parse("rgb:16,audio:8")
HIDDEN = HiddenConfig(units=8)
DBOF = DBoFConfig(clusters=16, hidden=8)
NEXTVLAD = NeXtVLADConfig(clusters=4, groups=4, hidden=HiddenConfig(units=8, form="batch_norm"))
NETVLAD = NetVLADConfig(clusters=4, hidden=HIDDEN)
LSTM = LSTMConfig(cells=8)
# Each pooling once, each head once or more.
TOWERS = {
    "dbof": (DBOF, MoEConfig()),
    "dbof_mean_relu6": (DBoFConfig(clusters=16, hidden=8, pooling="mean", activation="relu6"), LogisticConfig()),
    "frame_mean": (FrameMeanConfig(), LogisticConfig(start="he", bias_l2=1e-5)),
    "soft_dbof": (SoftDBoFConfig(clusters=16, hidden=HIDDEN, max_pool=True), LogitMoEConfig(mixtures=2)),
    "gated_dbof": (GatedDBoFConfig(clusters=16, hidden=HIDDEN), ProbabilityGatingConfig(input="embedding")),
    "netvlad": (NETVLAD, ProbabilityGatingConfig()),
    "netvlad_light": (NetVLADConfig(clusters=4, form="light", hidden=HIDDEN), LogitMoEConfig(shared_gate=True)),
    "netvlad_gated": (NetVLADConfig(clusters=4, form="gated", hidden=HIDDEN, gating=None), LogisticConfig()),
    "netfv": (NetFVConfig(clusters=4, hidden=HIDDEN), MoEConfig(mixtures=4)),
    "nextvlad": (NEXTVLAD, LogisticConfig()),
    "lstm": (LSTM, MoEConfig()),
    "lstm_bidirectional": (LSTMConfig(cells=8, direction="bidirectional", output="cell"), LogisticConfig()),
    "gru": (GRUConfig(cells=8, gating=ContextGatingConfig(form="bias")), LogisticConfig()),
}
MIXES = {
    "mix_dbof": MixConfig(towers=(TowerConfig(aggregation=DBOF, head=LogisticConfig()),) * 2),
    "mix_nextvlad": MixConfig(
        towers=(TowerConfig(aggregation=NEXTVLAD, head=LogisticConfig(start="he", bias_l2=1e-5)),) * 3,
        distillation=DistillationConfig(temperature=20.0),
    ),
    "unlike_mix": MixConfig(
        towers=(
            TowerConfig(aggregation=DBOF, head=MoEConfig()),
            TowerConfig(aggregation=NETVLAD, head=LogisticConfig()),
            TowerConfig(aggregation=LSTM, head=LogitMoEConfig(mixtures=2)),
        ),
        distillation=DistillationConfig(stop_gradient=True, weight=1.0),
    ),
}
NETWORKS = {
    **{name: NetworkConfig(aggregation=aggregation, head=head) for name, (aggregation, head) in TOWERS.items()},
    **{name: NetworkConfig(mix=mix) for name, mix in MIXES.items()},
}
QUICK = ("dbof_mean_relu6", "frame_mean", "soft_dbof", "netvlad_light", "lstm", "mix_dbof")  # to trace


def slow_unless_quick(names):
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.fixture(scope="module")
def batch():
    random = np.random.default_rng(3)
    return {
        "codes": tf.constant(random.integers(0, 256, (8, 5, FEATURES.size), np.uint8)),
        "frame_count": tf.constant([5, 5, 4, 3, 5, 2, 1, 5]),
        "labels": tf.constant((random.random((8, 6)) < 0.3).astype(np.float32)),
    }


@pytest.mark.parametrize("name", slow_unless_quick(NETWORKS))
def test_every_structure_learns_a_batch_by_heart(name, batch):
    keras.utils.set_random_seed(1)
    network, config = Network(NETWORKS[name], FEATURES, 6), RunConfig(name="trial", network=NETWORKS[name])
    stage = StageConfig(learning_rate=0.02, average=None)
    spec = {key: tf.TensorSpec(value.shape, value.dtype) for key, value in batch.items()}
    step = OptimiserStep(network, stage, spec, objective_of(config, stage))
    losses = [float(step(batch, number)) for number in range(12)]
    assert losses[-1] < 0.9 * losses[0], losses


@pytest.mark.parametrize("name", slow_unless_quick(MIXES))
def test_a_mix_goes_through_both_stages_into_a_checkpoint(name, shared, tmp_path):
    quick = StageConfig(learning_rate=0.002, batch_size=16, epochs=1, frames=5, log_every_steps=1, save_every_steps=5)
    config = RunConfig(name="trial", network=NETWORKS[name], stage1=quick, stage2=stage_two(quick, epochs=1))
    data = tiny_data(shared)
    run = Run(config=config, data=data, out=tmp_path, report=lambda **_: None)
    run.stage_one()
    run.stage_two(0)
    checkpoint = Checkpoint.load(tmp_path / "fold0")
    outputs = checkpoint.build_network()(np.zeros((2, 5, data.features.size), np.uint8), np.array([5, 3], np.int32))
    assert checkpoint.network_config == config.network
    assert outputs["tower_logits"].shape == (2, len(MIXES[name].towers), 100)
    assert all(np.isfinite(line["loss"]) for line in metrics_of(tmp_path / "fold0") if "loss" in line)
    # A mix that is to learn otherwise has the same weights to start from.
    warmer = DistillationConfig(temperature=7.0)
    other = dataclasses.replace(
        config, network=NetworkConfig(mix=dataclasses.replace(MIXES[name], distillation=warmer))
    )
    Run(config=other, data=data, out=tmp_path / "other", start=tmp_path, report=lambda **_: None).stage_two(0)
    learnt = Checkpoint.load(tmp_path / "other" / "fold0")
    assert learnt.network_config.mix.distillation == warmer
    assert learnt.digest != checkpoint.digest
