"""One training on one device, on two devices of one machine, and on two machines: the same losses."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from segsearch.training.documents import changed
from segsearch.training.runs.dbof_yt8m import RUN
from segsearch.training.stages import Run
from tests.tiny_data import metrics_of, settings, tiny_arguments, tiny_data

# An accelerator cannot be counted on here; TensorFlow takes a processor for two devices just as well.
PROGRAM = """
import sys
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * int(sys.argv.pop(1)))
from segsearch.core.cli import main
main()
"""
PLAIN = 'network={"aggregation": {"kind": "frame_mean"}, "head": {"kind": "moe", "l2": 1e-3}}'
TEACHER = 'stage2.mean_teacher={"weight": 100.0, "ramp_up_steps": 0, "unlabelled_share": 1.0}'
STAGES = ("stage1", "fold0")
SETTINGS = {
    "network.aggregation": {"kind": "dbof", "clusters": 16, "hidden": 8, "batch_norm_decay": 0.9, "l2": 1e-3},
    **{f"stage{number}.log_every_steps": 1 for number in (1, 2)},
    **{f"stage{number}.save_every_steps": 4 for number in (1, 2)},
    "stage1.epochs": 2,
    "stage2.epochs": 1,
    "stage1.batch_size": 7,  # odd, so that devices get unlike parts
    "stage2.batch_size": 21,
}


@pytest.fixture(scope="module")
def on_one(shared, tmp_path_factory):
    """The output folder of a training on one device."""
    return _train_here(shared, tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def on_two_machines(shared, tmp_path_factory):
    """The output folder of the same training and of all five folds, on two machines."""
    out = tmp_path_factory.mktemp("two")
    # The second one is done with a fold as soon as it is trained, while the chief still scores what was held out.
    assert _train_on_two_machines(shared, out) == [0, 0]
    return out


def test_two_devices_lose_what_one_does(shared, on_one, tmp_path):
    assert _wait(_train(shared, tmp_path, "engine.strategy=mirrored", devices=2)) == 0
    _assert_same(tmp_path, on_one)


def test_two_machines_lose_what_one_device_does(on_one, on_two_machines):
    _assert_same(on_two_machines, on_one)


def test_two_machines_both_sum_up_all_five_folds(on_two_machines):
    folds = json.loads((on_two_machines / "folds.json").read_text())["fold_rated_map_at_100k"]
    checkpoints = [json.loads((on_two_machines / f"fold{fold}/checkpoint.json").read_text()) for fold in range(5)]
    assert folds == [checkpoint["metrics"][0]["value"] for checkpoint in checkpoints]


def test_a_mean_teacher_teaches_on_two_devices_what_it_does_on_one(shared, on_one, tmp_path):
    # All batches of fold 3 are even: each device gets as large a share of unlabelled segments as of labelled ones.
    changes = (TEACHER, "stage2.batch_size=20")
    two = _train(shared, tmp_path / "two", *changes, "engine.strategy=mirrored", devices=2, fold="3", start=on_one)
    _train_here(shared, tmp_path / "one", *changes, fold=3, start=on_one)
    assert _wait(two) == 0
    _assert_same(tmp_path / "two", tmp_path / "one", stages=("fold3",))


def test_a_batch_computed_in_parts_gives_the_same_update(shared, tmp_path):
    # Without batch norm, whose statistics are those of a part.
    whole = _train_here(shared, tmp_path / "whole", PLAIN)
    parts = _train_here(shared, tmp_path / "parts", PLAIN, "engine.accumulation=3")
    _assert_same(parts, whole)


def _assert_same(found: Path, wanted: Path, stages: Sequence[str] = STAGES) -> None:
    # Weights are not compared: where a gradient is nothing but rounding, Adam makes whole steps of it, and those
    # weights (what batch norm takes out again) change no score.
    for stage in stages:
        assert np.allclose(_losses(found / stage), _losses(wanted / stage), rtol=1e-5, atol=0)
        ours, theirs = (json.loads((out / stage / "checkpoint.json").read_text()) for out in (found, wanted))
        assert [metric["value"] for metric in ours["metrics"]] == pytest.approx(
            [metric["value"] for metric in theirs["metrics"]], abs=2e-3
        )


def _losses(directory: Path) -> list[float]:
    return [line["loss"] for line in metrics_of(directory) if "loss" in line]


def _train_here(shared: Path, out: Path, *changes: str, fold: int = 0, start: Path | None = None) -> Path:
    """The output folder of a training on one device, in this process."""
    config = changed(RUN, [*settings(SETTINGS)[1::2], *changes])
    run = Run(
        config=config, data=tiny_data(shared, with_unlabelled=True), out=out, start=start, report=lambda **_: None
    )
    run.stage_one()
    run.stage_two(fold)
    return out


def _train_on_two_machines(shared: Path, out: Path) -> list[int]:
    """The exit statuses of both."""
    workers = [f"127.0.0.1:{port}" for port in _free_ports(2)]
    machines = [
        _train(shared, out, "engine.strategy=multiworker", devices=1, fold="all", cluster=_cluster(workers, index))
        for index in range(2)
    ]
    try:
        return [_wait(machine) for machine in machines]
    finally:
        for machine in machines:  # one that waits for another waits for ever
            machine.kill()


def _train(
    shared: Path, out: Path, *changes: str, devices: int, fold: str = "0", start: Path | None = None, cluster: str = ""
) -> subprocess.Popen:
    command = [sys.executable, "-c", PROGRAM, str(devices), "train", "dbof_yt8m", "--fold", fold, "--out", str(out)]
    command += [*tiny_arguments(shared), *settings(SETTINGS), *(["--stage1", str(start)] if start else [])]
    for change in changes:
        command += ["--set", change]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", **({"TF_CONFIG": cluster} if cluster else {})}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
    )


def _wait(process: subprocess.Popen) -> int:
    try:
        _, talk = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    print(talk[-3000:])  # shown where the test fails
    return process.returncode


def _cluster(workers: list[str], index: int) -> str:
    return json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports
