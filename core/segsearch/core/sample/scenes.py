"""What happens in one made-up video: which tags hold from when to when, and how people rate its segments.

Spans of a tag are cut without regard to segments. A segment is rated yes where the tag holds for most of it, no where
it holds in none of it, and not rated in between. `rendering` turns a scene into frames.

T frames of a video, L tags it has, S segments.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segsearch.core.sample.names import alike
from segsearch.core.segments import SEGMENT_FRAMES, segment_starts
from segsearch.core.videos import Ratings

FRAMES = (120, 300)
TAG_COUNTS = (0.05, 0.3, 0.35, 0.2, 0.1)  # probability of 1, 2, ... tags
TAG_IS_ALIKE = 0.35  # probability that a further tag is of the family of the one before
SPANS = (1, 3)
SPAN_S = (5, 40)
MOSTLY = 4  # of a segment's five frames
# In the challenge's data, too, the beginning and the very end of a video are never rated.
UNRATED_FIRST, UNRATED_LAST = 6, 2
YES_A_TAG, NO_A_TAG, NO_A_LIKENESS = 3, 4, 2


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What holds when."""

    classes: np.ndarray  # (L,) int64 class ordinals, ascending
    holds: np.ndarray  # (L, T) bool

    @property
    def frame_count(self) -> int:
        return int(self.holds.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class Ratable:
    """The segments that may be rated, and for how many of its frames each shows each tag."""

    starts: np.ndarray  # (S,) int64
    cover: np.ndarray  # (L, S) int64, 0 to 5


def draw_scene(random: np.random.Generator, class_count: int) -> Scene:
    """Draws a video's length, its tags and their spans."""
    frame_count = _between(random, FRAMES)
    classes = _draw_tags(random, class_count)
    holds = np.zeros((len(classes), frame_count), bool)
    for row in holds:
        for _ in range(_between(random, SPANS)):
            length = _between(random, SPAN_S)
            start = int(random.integers(frame_count - length + 1))
            row[start : start + length] = True
    return Scene(classes, holds)


def rate(random: np.random.Generator, scene: Scene, ratable_classes: Sequence[int], labels: np.ndarray) -> Ratings:
    """People's ratings of a scene: yes and no for the tags it has, and no for tags that could be taken for them.

    labels: (C,) int64, the label index by class ordinal. Only `ratable_classes` (ordinals) are rated.
    """
    segments = ratable_segments(scene)
    rows: list[tuple[int, int, float]] = []
    for ordinal, cover in zip(scene.classes.tolist(), segments.cover, strict=True):
        shown = _some(random, segments.starts[cover >= MOSTLY], YES_A_TAG)
        absent = _some(random, segments.starts[cover == 0], NO_A_TAG)
        others = [like for like in alike(ordinal, len(labels)) if like not in scene.classes and like in ratable_classes]
        if ordinal in ratable_classes:
            rows += [(start, ordinal, 1.0) for start in shown] + [(start, ordinal, 0.0) for start in absent]
        if others:
            taken_for = others[int(random.integers(len(others)))]
            rows += [(start, taken_for, 0.0) for start in shown[:NO_A_LIKENESS]]
    return _as_ratings(rows, labels)


def ratable_segments(scene: Scene) -> Ratable:
    """The segments away from the video's ends."""
    starts = segment_starts(scene.frame_count)[UNRATED_FIRST:-UNRATED_LAST]
    seconds = starts[:, None] + np.arange(SEGMENT_FRAMES)  # (S, 5)
    return Ratable(starts, scene.holds[:, seconds].sum(axis=2))


def _draw_tags(random: np.random.Generator, class_count: int) -> np.ndarray:
    wanted = min(1 + int(random.choice(len(TAG_COUNTS), p=TAG_COUNTS)), class_count)
    tags: list[int] = []
    while len(tags) < wanted:
        among = alike(tags[-1], class_count) if tags and random.random() < TAG_IS_ALIKE else range(class_count)
        tag = among[int(random.integers(len(among)))]
        if tag not in tags:
            tags.append(tag)
    return np.array(sorted(tags), np.int64)


def _as_ratings(rows: list[tuple[int, int, float]], labels: np.ndarray) -> Ratings:
    # Two tags of one family may both name a third as the one they are taken for, at the same segment.
    unique = {(start, ordinal): score for start, ordinal, score in rows}
    starts, ordinals = (np.array([pair[column] for pair in unique], np.int64) for column in (0, 1))
    return Ratings(starts, labels[ordinals], np.array(list(unique.values()), np.float32))


def _between(random: np.random.Generator, bounds: tuple[int, int]) -> int:
    return int(random.integers(bounds[0], bounds[1] + 1))


def _some(random: np.random.Generator, starts: np.ndarray, most: int) -> list[int]:
    return [int(start) for start in random.permutation(starts)[:most]]
