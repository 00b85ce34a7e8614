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
from tests.live_videos import BUNDLE, OTHER, SPACE, codes_of, frame_count_of, frames_of
from tests.live_writer import say

POOL = 5


def change(store, content, known):
    """One upload or deletion; `known`: by video id, what may be found."""
    video_id = f"video-{random.Random(content).randrange(POOL)}"
    wanted = None if content % 7 == 3 else content
    try:
        if wanted is None:
            say("del", video_id, "-", store.delete(video_id).sequence)
        else:
            say("try", video_id, content)
            frame_count = frame_count_of(content)
            codes = {bundle: codes_of(content, bundle, frame_count) for bundle in (BUNDLE, OTHER)}
            say("put", video_id, content, store.put(video_id, frames_of(content, frame_count), codes).sequence)
        known[video_id] = (wanted,)
    except SegsearchError as error:
        say("failed", video_id, error.code)
        # A disk that refuses a page, and to have it taken back, may hold it all the same.
        known[video_id] = (*known.get(video_id, (None,)), wanted)
        read_again(store, known)


def read_again(store, known):
    """Everything is there as it was acknowledged, or whole as what failed since would have made it."""
    for video_id, contents in known.items():
        try:
            video = store.get(video_id)
        except SegsearchError as error:
            say("unreadable", video_id, error.code)
            continue
        if not any(is_found(video, content) for content in contents):
            say("WRONG", video_id)


def is_found(video, content):
    """Whether a video is the one of this content, or missing where there should be none."""
    if video is None or content is None:
        return video is None and content is None
    return is_whole(video, content)


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
