"""How a training is computed: settings that cannot work are refused by name, before TensorFlow is there."""

import json
import subprocess
import sys

import pytest

from segsearch.core.errors import ConfigError
from segsearch.training.cluster import check_cluster
from segsearch.training.config import EngineConfig, InputConfig, RunConfig
from segsearch.training.documents import changed, config_of, document_of

WORKERS = {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: EngineConfig(precision="float64"), "precision"),
        (lambda: EngineConfig(accumulation=0), "accumulation"),
        (lambda: EngineConfig(early_stop=-1), "early_stop"),
        (lambda: EngineConfig(strategy="horovod"), "strategy"),
        (lambda: EngineConfig(strategy="mirrored", xla=True), "xla"),
        (lambda: InputConfig(on_error="ignore"), "on_error"),
        (lambda: changed(RunConfig(name="trial"), ["engine.precision=half"]), "engine.precision"),
        (lambda: changed(RunConfig(name="trial"), ["engine.accumulation=2.5"]), "engine.accumulation"),
    ],
)
def test_an_engine_that_cannot_work_is_refused_by_name(make, field):
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.field == field


def test_an_engine_survives_json_exactly():
    config = RunConfig(name="trial", engine=EngineConfig(precision="bfloat16", accumulation=4, early_stop=3))
    assert config_of(RunConfig, json.loads(json.dumps(document_of(config)))) == config


@pytest.mark.parametrize(
    "text",
    [
        None,
        "worker 0",
        "[]",
        json.dumps({"cluster": WORKERS}),
        json.dumps({"cluster": WORKERS, "task": {"type": "worker", "index": 2}}),
        json.dumps({"cluster": WORKERS, "task": {"type": "chief", "index": 0}}),
        json.dumps({"cluster": {"worker": [7]}, "task": {"type": "worker", "index": 0}}),
    ],
)
def test_several_machines_need_a_cluster_that_names_this_one(text):
    with pytest.raises(ConfigError, match="TF_CONFIG is "):
        check_cluster(EngineConfig(strategy="multiworker"), text)


def test_a_cluster_that_names_this_machine_is_taken():
    task = {"cluster": WORKERS, "task": {"type": "worker", "index": 1}}
    check_cluster(EngineConfig(strategy="multiworker"), json.dumps(task))


def test_one_machine_needs_no_cluster():
    check_cluster(EngineConfig(strategy="mirrored"), None)


def test_the_engine_and_the_data_are_checked_without_tensorflow():
    program = (
        "import sys, segsearch.training.cli, segsearch.training.cluster, segsearch.training.folder, "
        "segsearch.training.input.remote, segsearch.training.input.mending, segsearch.training.tracking; "
        "sys.exit(bool({'tensorflow', 'keras', 'fsspec', 'mlflow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
