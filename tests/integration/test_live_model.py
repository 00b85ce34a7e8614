"""Thousands of random operations on a library, each answer held against a plain dictionary.

`SEGSEARCH_OPERATIONS` says how many (`make soak`: 200,000), `SEGSEARCH_SEED` which ones; a failure names its seed.
"""

import os
import time
from dataclasses import dataclass, field

import numpy as np

from segsearch.core.score_codes import PROBABILITIES
from segsearch.core.segments import SEGMENT_FRAMES
from segsearch.service.index.format import LIVE
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.live.store import LiveStore
from segsearch.service.jobs.compaction import compact
from segsearch.service.jobs.reindex import reindex
from segsearch.service.library import SegmentLibrary
from tests.library_fixtures import make_videos, write_shards
from tests.plain_scorer import PlainScorer
from tests.tiny_model import SPEC

OPERATIONS = int(os.environ.get("SEGSEARCH_OPERATIONS", "5000"))
SEED = int(os.environ.get("SEGSEARCH_SEED", time.time_ns() % 1_000_000))
SHARD_VIDEOS = 12
KEEP = 10_000  # more than there ever is: every answer can be complete

Video = tuple[str, np.ndarray]


@dataclass
class PlainLibrary:
    """What must be there: the shards, what each generation was made of, and the last change of every video."""

    shards: list[Video]
    stored: dict[str, tuple[int, np.ndarray | None]] = field(default_factory=dict)  # sequence, frames or a deletion
    generations: dict[int, tuple[list[Video], int]] = field(default_factory=dict)  # videos, last sequence in them
    current: int = 0
    sequence: int = 0

    def change(self, video_id: str, frames: np.ndarray | None) -> bool:
        """Puts or deletes a video; False where it is stored so already."""
        _, before = self.stored.get(video_id, (0, None))
        if frames is not None and before is not None and np.array_equal(before, frames):
            return False
        self.sequence += 1
        self.stored[video_id] = (self.sequence, frames)
        return True

    def found(self) -> list[Video]:
        """Every video that can be found, in the order in which equals rank."""
        base, folded = self.generations[self.current]
        live = {video_id: change for video_id, change in self._changes() if change[0] > folded}
        return [video for video in base if video[0] not in live] + self._uploads(live)

    def publish(self, number: int, *, from_shards: bool) -> None:
        """A reindex, or else a compaction of what can be found."""
        if from_shards:
            changes = dict(self._changes())
            videos = [video for video in self.shards if video[0] not in changes] + self._uploads(changes)
        else:
            videos = self.found()
        self.generations[number] = (videos, self.sequence)
        self.current = number

    def _changes(self) -> list[tuple[str, tuple[int, np.ndarray | None]]]:
        return sorted(self.stored.items(), key=lambda change: change[1][0])

    @staticmethod
    def _uploads(changes: dict[str, tuple[int, np.ndarray | None]]) -> list[Video]:
        return [(video_id, frames) for video_id, (_, frames) in changes.items() if frames is not None]


class Trial:
    """The library and its plain twin, through the same operations."""

    def __init__(self, folder, bundle):
        self.random = np.random.default_rng(SEED)
        videos = make_videos(SHARD_VIDEOS, seed=SEED)
        self.files = write_shards(folder / "shards", videos, 2)
        self.scorer, self.index = PlainScorer(bundle), IndexDirectory(folder / "index")
        self.plain = PlainLibrary([(video.id, video.frames) for video in videos])
        self.names = [*(video.id for video in videos), *(f"up{number}" for number in range(20))]
        self.contents = [video.frames for video in make_videos(40, seed=SEED + 1)]
        self.known = {}
        self.index.root.mkdir()
        self.open()
        self.reindex()

    def open(self):
        self.store = LiveStore.open(self.index.root / LIVE, SPEC.space)
        self.library = SegmentLibrary(self.scorer, self.index, self.store)

    def step(self):
        operations = (self.put, self.delete, self.search, self.search_several, self.strip, self.compact, self.reindex,
                      self.activate, self.reopen)  # fmt: skip
        shares = (0.30, 0.15, 0.30, 0.15, 0.06, 0.015, 0.005, 0.01, 0.01)
        operations[self.random.choice(len(operations), p=shares)]()

    def put(self):
        name, frames = self.random.choice(self.names), self.contents[self.random.integers(len(self.contents))]
        _, stored = self.library.add(str(name), frames, 1)
        assert stored.unchanged is not self.plain.change(str(name), frames)
        assert stored.sequence == self.plain.stored[str(name)][0]

    def delete(self):
        there = [video_id for video_id, _ in self.plain.found()]
        if len(there) > 1:
            name = there[self.random.integers(len(there))]
            self.library.delete(name)
            assert self.plain.change(name, None)

    def search(self):
        tag, k = int(self.random.integers(len(self.scorer.bundle.vocabulary))), int(self.random.integers(1, 200))
        lowest = int(self.random.choice([0, 0, 32_000, 34_000]))
        per_video = self.random.choice([None, None, 1, 2])
        name = self.scorer.bundle.vocabulary[tag].name
        min_score = float(PROBABILITIES[lowest]) if lowest else 0.0
        page = self.library.search(name, k, min_score=min_score, per_video=per_video)
        self.compare(page, self.wanted(lambda codes: codes[:, tag], k, lowest, per_video))

    def search_several(self):
        first, second, third = self.random.choice(len(self.scorer.bundle.vocabulary), 3, replace=False).tolist()
        names = [f'"{self.scorer.bundle.vocabulary[tag].name}"' for tag in (first, second, third)]
        page = self.library.search(f"({names[0]} or {names[1]}) and not {names[2]}", 50)
        self.compare(
            page,
            self.wanted(
                lambda codes: np.minimum(np.maximum(codes[:, first], codes[:, second]), 65_536 - codes[:, third]), 50
            ),
        )

    def strip(self):
        there = self.plain.found()
        name, frames = there[self.random.integers(len(there))]
        strip = self.library.strip(name, ["Rain"])
        assert strip.known.all()
        rain = self.scorer.bundle.vocabulary.find("Rain")
        np.testing.assert_array_equal(strip.codes[0], self.codes_of(frames)[:, rain])

    def compact(self):
        done = compact(self.index, self.store)
        folded = self.plain.generations[self.plain.current][1]
        assert (done is None) == (folded == self.plain.sequence)
        if done is not None:
            self.plain.publish(done.manifest.number, from_shards=False)
        self.library.refresh()

    def reindex(self):
        done = reindex(
            self.scorer, self.files, self.index, keep=KEEP, store=self.store, selection="numpy",
            scores=bool(self.random.integers(2)),
        )  # fmt: skip
        self.plain.publish(done.manifest.number, from_shards=True)
        self.library.refresh()

    def activate(self):
        self.plain.current = int(self.random.choice(self.index.numbers()))
        self.index.activate(self.plain.current)
        self.library.refresh()

    def reopen(self):
        self.store.close()
        self.open()

    def codes_of(self, frames):
        """(S, C) int64; the same few contents come again and again."""
        if id(frames) not in self.known:
            self.known[id(frames)] = self.scorer.codes_of(frames).astype(np.int64)
        return self.known[id(frames)]

    def wanted(self, code_of, k, lowest=0, per_video=None):
        """(video, start, code) of the k best, by sorting everything."""
        segments, seen = [], {}
        for video_id, frames in self.plain.found():
            codes = code_of(self.codes_of(frames)).tolist()
            segments += [(video_id, place * SEGMENT_FRAMES, code) for place, code in enumerate(codes)]
        kept = []
        for segment in sorted(segments, key=lambda segment: -segment[2]):  # stable: equals stay in order
            seen[segment[0]] = seen.get(segment[0], 0) + 1
            if segment[2] >= lowest and (per_video is None or seen[segment[0]] <= per_video):
                kept.append(segment)
        return kept[:k]

    def compare(self, page, wanted):
        assert list(zip(page.video_ids, page.starts.tolist(), page.codes.tolist(), strict=True)) == wanted
        assert (page.generation.number, page.sequence, page.complete) == (self.plain.current, self.plain.sequence, True)


def test_a_library_answers_as_a_dictionary_would(tmp_path, tiny_bundle):
    trial = Trial(tmp_path, tiny_bundle)
    for number in range(OPERATIONS):
        try:
            trial.step()
        except BaseException as error:
            error.add_note(f"operation {number} of SEGSEARCH_SEED={SEED}")
            raise
    trial.store.close()
