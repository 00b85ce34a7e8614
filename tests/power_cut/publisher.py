"""A process that uploads, compacts and goes back to an older generation; says what it is about to do, and what is done.

    python -m tests.power_cut.publisher INDEX SEED ROUNDS

`switch NUMBER` before a generation is made current and `current NUMBER` behind it; `ready` once the live store is
open; uploads and deletions as `tests.live_writer` says them, among them those of the first generation's videos.
"""

import random
import sys
from pathlib import Path

import numpy as np

from segsearch.core.score_codes import HIGHEST
from segsearch.core.segments import segment_starts
from segsearch.core.vocabulary import Entry, Vocabulary
from segsearch.service.index.format import LIVE
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.live.store import LiveStore
from segsearch.service.index.manifest import BundleName, Skipped
from segsearch.service.index.writer import GenerationWriter, Origin
from segsearch.service.jobs.compaction import compact
from tests.live_videos import BUNDLE, CLASSES, OTHER, SPACE, codes_of, frame_count_of, frames_of, some_name_of
from tests.live_writer import say

BASE_VIDEOS = 4
BASE_FRAMES = 12
LIMIT = 10_000  # every list holds every segment
UPLOADS = 3  # of a round


def base_codes(number: int) -> np.ndarray:
    """(S, C) u16 of one video of the first generation."""
    return codes_of(1_000_000 + number, BUNDLE, BASE_FRAMES)


def publish_base(index: IndexDirectory) -> None:
    origin = Origin(BundleName("made-up", 1, BUNDLE), SPACE, Vocabulary(Entry(n, f"class {n}") for n in range(CLASSES)))
    codes = np.concatenate([base_codes(number) for number in range(BASE_VIDEOS)])  # (N, C)
    with index.building() as building:
        say("switch", building.number)
        with GenerationWriter(building.directory, origin, LIMIT) as writer:
            for number in range(BASE_VIDEOS):
                writer.add_video(f"base-{number}", segment_starts(BASE_FRAMES))
            for column in codes.T:
                order = np.argsort(HIGHEST - column, kind="stable")
                writer.add_postings(order.astype(np.uint32), column[order])
            writer.seal(building.number, Skipped())
        index.publish(building)
    say("current", building.number)


def change(store: LiveStore, content: int) -> None:
    chance = random.Random(content)
    video_id = f"base-{chance.randrange(BASE_VIDEOS)}" if content % 5 == 4 else f"video-{chance.randrange(6)}"
    if content % 7 == 3:
        say("del", video_id, "-", store.delete(video_id).sequence)
        return
    frame_count = frame_count_of(content)
    say("try", video_id, content)
    codes = {bundle: codes_of(content, bundle, frame_count) for bundle in (BUNDLE, OTHER)}
    stored = store.put(video_id, frames_of(content, frame_count), codes, some_name_of(content))
    say("put", video_id, content, stored.sequence)


def main() -> None:
    index, seed, rounds = IndexDirectory(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
    publish_base(index)
    with LiveStore.open(index.root / LIVE, SPACE, map_bytes=256 << 20) as store:
        say("ready")
        for number in range(rounds):
            for upload in range(UPLOADS):
                change(store, seed + UPLOADS * number + upload)
            say("switch", max(index.numbers()) + 1)
            done = compact(index, store, keep_generations=2)
            assert done is not None
            say("current", done.manifest.number)
            if number % 3 == 2:
                older = index.numbers()[0]
                say("switch", older)
                say("current", index.activate(older).number)


if __name__ == "__main__":
    main()
