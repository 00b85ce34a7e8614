"""A process whose threads go on uploading whatever the disk says, and read after each failure what they were promised.

    python -m tests.power_cut.persistent INDEX SEED COUNT

Lines as `tests.live_writer` says them; `failed ID CODE` where an upload or deletion was refused, `refused CODE` where
the store could not be opened, `WRONG ID` and `unreadable ID CODE` where reading did not go on. Another thread reads all
the time. COUNT uploads and deletions of each of three threads, each of which has videos of its own.
"""

import random
import sys
import threading
from pathlib import Path

from segsearch.core.errors import SegsearchError
from segsearch.service.index.format import LIVE
from segsearch.service.index.live.store import LiveStore
from tests.integration.test_live_crashes import is_whole
from tests.live_videos import BUNDLE, OTHER, SPACE, codes_of, frame_count_of, frames_of, some_name_of
from tests.live_writer import say

THREADS, POOL = 3, 3


def go_on(store, first, count):
    """Uploads and deletes, as one thread."""
    known = {}
    for number in range(count):
        change(store, first + number, known, f"video-{first}-{random.Random(first + number).randrange(POOL)}")
    read_again(store, known)


def change(store, content, known, video_id):
    """One upload or deletion; `known`: by video id, what may be found."""
    wanted = None if content % 7 == 3 else content
    try:
        if wanted is None:
            say("del", video_id, "-", store.delete(video_id).sequence)
        else:
            say("try", video_id, content)
            frame_count = frame_count_of(content)
            codes = {bundle: codes_of(content, bundle, frame_count) for bundle in (BUNDLE, OTHER)}
            stored = store.put(video_id, frames_of(content, frame_count), codes, some_name_of(content))
            say("put", video_id, content, stored.sequence)
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
    stop = threading.Event()
    reader = threading.Thread(target=read_on, args=(store, stop))
    writers = [threading.Thread(target=go_on, args=(store, seed + (thread << 16), count)) for thread in range(THREADS)]
    with store:
        for thread in (reader, *writers):
            thread.start()
        for thread in writers:
            thread.join()
        stop.set()
        reader.join()


if __name__ == "__main__":
    main()
