"""More than a server takes, from callers who never wait: what becomes of videos, searches and memory."""

import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.hostile_bodies import NPY, npy_of
from tests.integration.test_micro_batching import value
from tests.integration.test_serving_commands import TIMEOUT_S, server
from tests.tiny_model import SPEC

LOAD_S = 15
CALLERS = 16
FRAMES = 36_000  # 432 kB, 7,200 segments: the queue below holds one such video of one client, and no second one
ROOM_MB = 64  # more than caches and the allocator's leftovers; what is refused in the end is several times as much


def memory_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


@pytest.mark.slow
def test_callers_who_never_wait_take_neither_the_memory_nor_the_work_nor_the_searches(index, tiny_bundle):
    body, statuses, wrong = npy_of(np.zeros((FRAMES, SPEC.size), np.uint8)), Counter[int](), []

    def call(url: str, ends: float) -> None:
        with httpx.Client(base_url=url, timeout=TIMEOUT_S) as client:
            while time.monotonic() < ends:
                answer = client.post("/score", params={"top": 1}, content=body, headers={"content-type": NPY})
                statuses[answer.status_code] += 1
                if answer.status_code == 200:
                    wrong.extend([answer.text[:200]] * (len(answer.json()["segments"]) != FRAMES // 5))
                elif answer.json()["type"] != "/problems/queue-full" or int(answer.headers["retry-after"]) < 1:
                    wrong.append(answer.text)

    with server(index, tiny_bundle, "--queue-frames", 2 * FRAMES, "--threads", 1) as (url, process):
        ends = time.monotonic() + LOAD_S
        threads = [threading.Thread(target=call, args=(url, ends)) for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
        memory: list[float] = []
        with httpx.Client(base_url=url, timeout=TIMEOUT_S) as client:
            while time.monotonic() < ends:
                found = client.get("/search", params={"tag": "Rain", "k": 5})
                wrong.extend([found.text] * (found.status_code != 200))
                memory.append(memory_mb(process.pid))
                time.sleep(0.2)
            for thread in threads:
                thread.join()
            assert wrong == []
            assert set(statuses) == {200, 503}  # callers who come back at once left time for scoring
            third = len(memory) // 3
            assert max(memory[third:]) < max(memory[:third]) + ROOM_MB
            assert value(client, "segsearch_queue_frames") == 0
            assert client.post("/score", content=npy_of(np.zeros((9, SPEC.size), np.uint8)),
                               headers={"content-type": NPY}).status_code == 200  # fmt: skip
