"""Settings: what cannot work is refused by name, and every config survives the way to JSON and back."""

import json
import subprocess
import sys

import pytest

from segsearch.core.errors import ConfigError
from segsearch.training.aggregations import (
    DBoFConfig,
    DistillationConfig,
    FrameMeanConfig,
    GRUConfig,
    LogisticConfig,
    MixConfig,
    MoEConfig,
    NetVLADConfig,
    TowerConfig,
)
from segsearch.training.config import NetworkConfig, RunConfig, StageConfig, stage_two
from segsearch.training.documents import changed, config_of, document_of
from segsearch.training.runs import dbof_audioset, dbof_sample, dbof_yt8m

RUN = RunConfig(name="trial")
UNLIKE = MixConfig(
    towers=(TowerConfig(), TowerConfig(aggregation=NetVLADConfig(form="light"), head=LogisticConfig(start="he"))),
    distillation=DistillationConfig(temperature=20.0, weight=None),
)
MIX = RunConfig(name="mixed", network=NetworkConfig(mix=UNLIKE))


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: DBoFConfig(clusters=0), "clusters"),
        (lambda: DBoFConfig(pooling="median"), "pooling"),
        (lambda: DBoFConfig(pooled_dropout=1.0), "pooled_dropout"),
        (lambda: MoEConfig(mixtures=0), "mixtures"),
        (lambda: LogisticConfig(l2=float("nan")), "l2"),
        (lambda: NetworkConfig(normalisation="l1"), "normalisation"),
        (lambda: StageConfig(learning_rate=0.0), "learning_rate"),
        (lambda: StageConfig(decay=1.5), "decay"),
        (lambda: StageConfig(save_every_steps=75, log_every_steps=50), "save_every_steps"),
        (lambda: RunConfig(name="no module"), "name"),
        (lambda: RunConfig(name="trial", context_frames=-1), "context_frames"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_by_name(make, field):
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.field == field


@pytest.mark.parametrize(
    "config",
    [
        RUN,
        dbof_yt8m.RUN,
        dbof_audioset.RUN,
        dbof_sample.RUN,
        MIX,
        RunConfig(
            name="mean",
            network=NetworkConfig(aggregation=FrameMeanConfig(), head=LogisticConfig(l2=1e-5), normalisation="none"),
            stage1=StageConfig(average=None, decay=1.0, frame_draw="contiguous"),
        ),
    ],
)
def test_a_config_survives_json_exactly(config):
    assert config_of(RunConfig, json.loads(json.dumps(document_of(config)))) == config


def test_stage_two_has_a_tenth_of_stage_ones_learning_rate_and_its_other_settings():
    stage = stage_two(StageConfig(learning_rate=0.02, batch_size=80))
    assert (stage.learning_rate, stage.batch_size, stage.epochs, stage.frame_draw) == (0.002, 80, 10, "all")


def test_changes_from_the_command_line_reach_nested_fields():
    config = changed(RUN, ["stage1.epochs=3", "network.head.l2=0", "network.aggregation.pooling=mean"])
    assert (config.stage1.epochs, config.network.head.l2, config.network.aggregation.pooling) == (3, 0.0, "mean")


def test_a_change_can_put_another_part_in_place():
    config = changed(RUN, ['network.aggregation={"kind": "frame_mean"}', "stage2.average=null"])
    assert config.network.aggregation == FrameMeanConfig()
    assert config.stage2.average is None


def test_a_change_reaches_one_tower_of_a_mix():
    config = changed(MIX, ["network.mix.towers.1.head.l2=0.5", "network.mix.distillation.weight=1"])
    assert [tower.head.l2 for tower in config.network.mix.towers] == [1e-8, 0.5]
    assert config.network.mix.distillation.weight == 1.0


def test_a_change_can_make_a_mix_of_a_plain_run():
    towers = [{"kind": "tower", "head": {"kind": "logistic"}}, {"aggregation": {"kind": "gru"}}]
    config = changed(RUN, [f"network.mix={json.dumps({'towers': towers})}"])
    assert config.network.mix.towers == (TowerConfig(head=LogisticConfig()), TowerConfig(aggregation=GRUConfig()))


def test_a_pooling_beside_a_mix_is_refused_as_it_would_say_nothing():
    with pytest.raises(ConfigError, match=r"network.aggregation, head is .*wanted left as they are beside a mix"):
        changed(MIX, ["network.aggregation.clusters=64"])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ("network.mix.towers.2.head.l2=0", "--set"),
        ("network.mix.towers.one.head.l2=0", "--set"),
        ("network.mix.towers=3", "network.mix.towers"),
        ("network.mix.towers=[]", "network.mix.towers"),
        ('network.mix.towers.0={"kind": "mix"}', "network.mix.towers.0.kind"),
        ('network.mix.towers.0.head={"kind": "svm"}', "network.mix.towers.0.head.kind"),
        ("network.mix.towers.1.head.start=zero", "network.mix.towers.1.head.start"),
    ],
)
def test_a_change_of_a_mix_that_cannot_work_is_refused_by_name(change, field):
    with pytest.raises(ConfigError) as caught:
        changed(MIX, [change])
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ("stage1.epoch=3", "--set"),
        ("stage1.epochs", "--set"),
        ("stage1.epochs.more=3", "--set"),
        ("stage1.epochs=three", "stage1.epochs"),
        ("stage1.epochs=2.5", "stage1.epochs"),
        ("input.cache=1", "input.cache"),
        ("stage1.learning_rate=-1", "stage1.learning_rate"),
        ('network.head={"kind": "softmax"}', "network.head.kind"),
        ('network.head={"kind": "moe", "experts": 3}', "network.head.experts"),
        ("network=7", "network"),
    ],
)
def test_a_change_that_cannot_work_is_refused_by_name(change, field):
    with pytest.raises(ConfigError) as caught:
        changed(RUN, [change])
    assert caught.value.field == field


def test_settings_and_the_command_are_checked_without_tensorflow():
    program = (
        "import sys, segsearch.training.cli, segsearch.training.documents, segsearch.training.folder, "
        "segsearch.training.runs.dbof_yt8m, segsearch.training.input.survey, segsearch.training.checkpoint; "
        "sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
