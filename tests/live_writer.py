"""A process that uploads to a live store until it is told to stop or killed; says what was acknowledged, line by line.

    python -m tests.live_writer DIRECTORY SEED [COUNT]

`try ID SEED` before an upload, `put ID SEED SEQUENCE` and `del ID - SEQUENCE` once they are acknowledged. Several
threads upload at once; ids come from a small pool, so that most uploads replace one. Every second upload is named after
its seed, to be done once.
"""

import os
import random
import sys
import threading
from pathlib import Path

from segsearch.service.index.live.store import LiveStore
from tests.live_videos import BUNDLE, OTHER, SPACE, codes_of, frame_count_of, frames_of, some_name_of

THREADS, POOL = 4, 12


def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\n").encode())  # one write, unbuffered: whole lines, at once


def upload(store, seed, count):
    for number in range(count):
        content = seed + number
        video_id = f"video-{random.Random(content).randrange(POOL)}"
        if content % 7 == 3:
            say("del", video_id, "-", store.delete(video_id).sequence)
            continue
        frame_count = frame_count_of(content)
        say("try", video_id, content)
        codes = {bundle: codes_of(content, bundle, frame_count) for bundle in (BUNDLE, OTHER)}
        stored = store.put(video_id, frames_of(content, frame_count), codes, some_name_of(content))
        say("put", video_id, content, stored.sequence)


def main():
    directory, seed, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1 << 30
    with LiveStore.open(directory, SPACE, map_bytes=256 << 20) as store:
        say("ready")
        threads = [
            threading.Thread(target=upload, args=(store, seed + (thread << 16), count)) for thread in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main()
