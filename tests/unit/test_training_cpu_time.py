"""The CPU time of a row's trainings: all tries count, also one that was killed together with its queue."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from segsearch.training.ablation.cpu_time import run_counted

BURN = "import time\nwhile time.process_time() < {seconds}: pass"
# A queue with a training that does not end.
QUEUE = f"""
import sys
from pathlib import Path
from segsearch.training.ablation.cpu_time import run_counted
with open("/dev/null", "w") as log:
    run_counted([sys.executable, "-c", {BURN.format(seconds=1e9)!r}], Path(sys.argv[1]), log, noted_every_s=0.05)
"""


@pytest.fixture
def seconds(tmp_path):
    """Where a row's CPU time is kept."""
    return tmp_path / "seconds.json"


def test_the_time_of_every_try_counts(seconds):
    assert _burn(seconds, 0.2) == 0
    first = _told(seconds)
    assert first >= 0.2
    assert _burn(seconds, 0.2) == 0
    assert _told(seconds) >= first + 0.2


def test_a_command_that_fails_counts_too_and_its_status_is_told(seconds):
    assert _burn(seconds, 0.1, "\nraise SystemExit(3)") == 3
    assert _told(seconds) >= 0.1


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="nobody tells what a running process has used")
def test_what_was_killed_together_with_its_queue_is_not_forgotten(seconds):
    queue = subprocess.Popen([sys.executable, "-c", QUEUE, str(seconds)], start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not seconds.exists() or _told(seconds) < 0.3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        os.killpg(queue.pid, signal.SIGKILL)
        queue.wait()
    killed = _told(seconds)
    _burn(seconds, 0.1)
    assert _told(seconds) >= killed + 0.1


def _burn(seconds, cpu_seconds, then=""):
    with Path(os.devnull).open("w") as log:
        return run_counted([sys.executable, "-c", BURN.format(seconds=cpu_seconds) + then], seconds, log)


def _told(seconds):
    return json.loads(seconds.read_text())["cpu_seconds"]
