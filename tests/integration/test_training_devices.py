"""One training on one device, on two devices of one machine, and on two machines: the same losses."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.tiny_data import metrics_of, settings, tiny_arguments

# An accelerator cannot be counted on here; TensorFlow takes a processor for two devices just as well.
PROGRAM = """
import sys
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * int(sys.argv.pop(1)))
from segsearch.core.cli import main
main()
"""
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
    out = tmp_path_factory.mktemp("one")
    assert _wait(_train(shared, out, devices=1)) == 0
    return out


def test_two_devices_lose_what_one_does(shared, on_one, tmp_path):
    assert _wait(_train(shared, tmp_path, "engine.strategy=mirrored", devices=2)) == 0
    _assert_same(tmp_path, on_one)


def test_two_machines_lose_what_one_device_does(shared, on_one, tmp_path):
    workers = [f"127.0.0.1:{port}" for port in _free_ports(2)]
    machines = [
        _train(shared, tmp_path, "engine.strategy=multiworker", devices=1, cluster=_cluster(workers, index))
        for index in range(2)
    ]
    assert [_wait(machine) for machine in machines] == [0, 0]
    _assert_same(tmp_path, on_one)


def test_a_batch_computed_in_parts_gives_the_same_update(shared, tmp_path):
    # Without batch norm, whose statistics are those of a part.
    plain = 'network={"aggregation": {"kind": "frame_mean"}, "head": {"kind": "moe", "l2": 1e-3}}'
    whole = _train(shared, tmp_path / "whole", plain, devices=1)
    parts = _train(shared, tmp_path / "parts", plain, "engine.accumulation=3", devices=1)
    assert [_wait(whole), _wait(parts)] == [0, 0]
    _assert_same(tmp_path / "parts", tmp_path / "whole")


def _assert_same(found: Path, wanted: Path) -> None:
    # Weights are not compared: where a gradient is nothing but rounding, Adam makes whole steps of it, and those
    # weights (what batch norm takes out again) change no score.
    for stage in STAGES:
        assert np.allclose(_losses(found / stage), _losses(wanted / stage), rtol=1e-5, atol=0)
        ours, theirs = (json.loads((out / stage / "checkpoint.json").read_text()) for out in (found, wanted))
        assert [metric["value"] for metric in ours["metrics"]] == pytest.approx(
            [metric["value"] for metric in theirs["metrics"]], abs=2e-3
        )


def _losses(directory: Path) -> list[float]:
    return [line["loss"] for line in metrics_of(directory) if "loss" in line]


def _train(shared: Path, out: Path, *changes: str, devices: int, cluster: str = "") -> subprocess.Popen:
    command = [sys.executable, "-c", PROGRAM, str(devices), "train", "dbof_yt8m", "--fold", "0", "--out", str(out)]
    command += [*tiny_arguments(shared), *settings(SETTINGS)]
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
