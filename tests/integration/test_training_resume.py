"""A training that is killed goes on as if nothing had happened."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.tiny_data import metrics_of, settings, tiny_arguments

_STAGE = {"batch_size": 16, "epochs": 4, "log_every_steps": 2, "save_every_steps": 4, "evaluate_every_epochs": 4}
# Small, and long enough to be killed on the way.
SETTINGS = {
    "network.aggregation": {"kind": "dbof", "clusters": 32, "hidden": 16, "pooled_dropout": 0.1},
    "input.shuffle_videos": 16,
    **{f"stage{number}.{field}": value for number in (1, 2) for field, value in _STAGE.items()},
    "stage1.batch_size": 4,
}


def test_a_killed_run_goes_on_to_the_same_weights(shared, tmp_path):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    _train(shared, straight).wait()
    for stage in ("stage1", "final"):
        process = _train(shared, killed)
        _wait_for_step(killed / stage, 15, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (killed / stage / "checkpoint.json").exists()
    assert _train(shared, killed).wait() == 0
    for stage in ("stage1", "final"):
        assert (killed / stage / "weights.npz").read_bytes() == (straight / stage / "weights.npz").read_bytes()
        assert metrics_of(killed / stage) == metrics_of(straight / stage)


def _train(shared: Path, out: Path) -> subprocess.Popen:
    """`segsearch train` in a process of its own."""
    command = [sys.executable, "-c", "from segsearch.core.cli import main; main()", "train", "dbof_yt8m"]
    command += [*tiny_arguments(shared), "--out", str(out), *settings(SETTINGS)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _wait_for_step(directory: Path, step: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not (directory / "metrics.jsonl").exists() or not any(line["step"] >= step for line in metrics_of(directory)):
        assert process.poll() is None, "training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
