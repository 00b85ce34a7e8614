"""Cuts the power at the syncs of a recorded process, rebuilds what that may leave, and looks for what was promised.

    python -m tests.power_cut.cuts live|index ROOT LOG SCRATCH SEED LIMIT

A cut is made right before a sync: all that the one before promised must be there, and of what came since any part may
be. LIMIT: how many of them, spread over all; 0: all. Each is tried with everything unsynced lost, everything kept, and
torn twice. A process of its own, as a damaged file could end it; says where it is, and ends with 0 if nothing is
missing.
"""

import random
import shutil
import sys
from pathlib import Path

import numpy as np

from segsearch.core.errors import NoGeneration
from segsearch.service.index.format import LIVE
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.live.store import LiveStore
from segsearch.service.index.view import View, live_over
from segsearch.service.jobs.compaction import compact
from tests.integration.test_live_crashes import check, check_names, last_acknowledged
from tests.live_videos import BUNDLE, CLASSES, OTHER, SPACE, codes_of, frames_of
from tests.power_cut.disk import Disk, Fate
from tests.power_cut.publisher import BASE_VIDEOS, base_codes
from tests.power_cut.recording import Record, lines_said, records

MAP_BYTES = 256 << 20


def cut_places(done: list[Record], limit: int, chance: random.Random) -> list[int]:
    """How many calls come before each cut."""
    places = [place for place, record in enumerate(done) if record.syncs] + [len(done)]
    if not 0 < limit < len(places):
        return places
    step = len(places) / limit
    return [places[int((number + chance.random()) * step)] for number in range(limit)]


def check_live(index: Path, lines: list[list[str]]) -> LiveStore:
    """The store holds what was acknowledged, all or nothing of what was not, and takes another upload."""
    known, tried = {}, {}
    for words in lines:
        if words[0] == "try":
            tried.setdefault(words[1], []).append(int(words[2]))
    last_acknowledged(lines, known)
    store = LiveStore.open(index / LIVE, SPACE, map_bytes=MAP_BYTES)
    check(store, known, tried)
    check_names(store, lines)
    before = store.sequence
    assert before >= max((sequence for sequence, _ in known.values()), default=0)
    codes = {bundle: codes_of(7, bundle) for bundle in (BUNDLE, OTHER)}
    assert store.put("after", frames_of(7), codes).sequence == before + 1
    store.verify()
    return store


def check_index(root: Path, lines: list[list[str]]) -> None:
    """CURRENT names the generation that it was said to, or one that was under way; every one that is there is whole;
    what is found is what the store has; and the next compaction goes well.
    """
    switches = [(words[0], int(words[1])) for words in lines if words[0] in ("switch", "current")]
    done = max((row for row, (word, _) in enumerate(switches) if word == "current"), default=-1)
    wanted = {number for _, number in switches[max(done, 0) :]}
    index = IndexDirectory(root)
    for number in index.numbers():
        index.open(number).verify()
    try:
        generation = index.open_current()
    except NoGeneration:
        assert done < 0, f"generation {wanted} was published, and none is"
        return
    assert generation.number in wanted, f"generation {generation.number} is current, wanted one of {wanted}"
    if not any(words[0] == "ready" for words in lines):
        return
    with check_live(root, lines) as store:
        check_found(View.of(generation, live_over(generation, store).current()), store)
        done = compact(index, store, keep_generations=2)
        assert done is not None
        check_found(View.of(index.open_current(), live_over(index.open_current(), store).current()), store)
    assert not [path.name for path in root.iterdir() if path.name.startswith((".building", ".removing"))]


def check_found(view: View, store: LiveStore) -> None:
    entries = {entry.video_id: entry for entry in store.entries()}
    for video_id, entry in entries.items():
        places = view.places_of(video_id)
        if entry.deleted:
            assert not len(places), f"{video_id} was deleted and is found"
        else:
            assert np.array_equal(scores_of(view, places), store.get(video_id).codes[BUNDLE]), f"{video_id} differs"
    for number in range(BASE_VIDEOS):
        if f"base-{number}" not in entries:
            assert np.array_equal(scores_of(view, view.places_of(f"base-{number}")), base_codes(number))
    assert view.video_count == sum(not entry.deleted for entry in entries.values()) + sum(
        f"base-{number}" not in entries for number in range(BASE_VIDEOS)
    )


def scores_of(view: View, places: np.ndarray) -> np.ndarray:
    """(S, C) u16."""
    assert len(places)
    codes, known = view.strip(places, list(range(CLASSES)))
    assert known.all()
    return codes.T


def main() -> None:
    what, (root, log, scratch), (seed, limit) = sys.argv[1], map(Path, sys.argv[2:5]), map(int, sys.argv[5:7])
    chance = random.Random(seed)
    done = records(log)
    places = cut_places(done, limit, chance)
    disk, reached, trees = Disk(root), 0, 0
    for place in places:
        for record in done[reached:place]:
            disk.apply(record)
        reached = place
        lines = lines_said(done[:place])
        for kind in ("lost", "kept", "torn", "torn"):
            fate = Fate(kind, chance.randrange(1 << 30))
            print(f"{kind} before call {place} of {len(done)}", flush=True)
            shutil.rmtree(scratch, ignore_errors=True)
            disk.top.write_to(scratch, fate)
            if what == "live":
                check_live(scratch / "index", lines).close()
            else:
                check_index(scratch / "index", lines)
            trees += 1
    for record in done[reached:]:
        disk.apply(record)
    differences = disk.differences()
    assert not differences, differences
    print(f"{len(places)} cuts, {trees} disks")


if __name__ == "__main__":
    main()
