"""A process that goes on uploading whatever the disk says, and reads after each failure what it was promised.

    python -m tests.power_cut.persistent INDEX SEED COUNT

Lines as `tests.live_writer` says them; `failed ID CODE` where an upload or deletion was refused, `refused CODE` where
the store could not be opened, `WRONG ID` and `unreadable ID CODE` where reading did not go on. Another thread reads all
the time.
"""

import random
import sys
import threading
from pathlib import Path

from segsearch.core.errors import SegsearchError
from segsearch.service.index.format import LIVE
from segsearch.service.index.live.store import LiveStore
from tests.integration.test_live_crashes import is_whole
from tests.live_videos import BUNDLE, OTHER, SPACE, codes_of, frames_of
from tests.live_writer import say

POOL = 5


def change(store, content, known):
    video_id = f"video-{random.Random(content).randrange(POOL)}"
    try:
        if content % 7 == 3:
            say("del", video_id, "-", store.delete(video_id).sequence)
            known[video_id] = None
            return
        frame_count = 3 + content % 40
        say("try", video_id, content)
        codes = {bundle: codes_of(content, bundle, frame_count) for bundle in (BUNDLE, OTHER)}
        say("put", video_id, content, store.put(video_id, frames_of(content, frame_count), codes).sequence)
        known[video_id] = content
    except SegsearchError as error:
        say("failed", video_id, error.code)
        read_again(store, known)


def read_again(store, known):
    """Everything that was acknowledged is there, and as it was before what failed."""
    for video_id, content in known.items():
        try:
            video = store.get(video_id)
        except SegsearchError as error:
            say("unreadable", video_id, error.code)
            continue
        if (video is None) != (content is None) or (video is not None and not is_whole(video, content)):
            say("WRONG", video_id)


def read_on(store, stop):
    while not stop.wait(0.001):
        try:
            store.entries()
        except SegsearchError as error:
            say("unreadable", "anything", error.code)


def main():
    index, seed, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    try:
        store = LiveStore.open(index / LIVE, SPACE, map_bytes=256 << 20)
    except SegsearchError as error:
        say("refused", error.code)
        return
    stop, known = threading.Event(), {}
    reader = threading.Thread(target=read_on, args=(store, stop))
    with store:
        reader.start()
        for number in range(count):
            change(store, seed + number, known)
        read_again(store, known)
        stop.set()
        reader.join()


if __name__ == "__main__":
    main()
