"""What the sample's classes look and sound like: cues, which are points with some freedom around them in feature space.

A frame is the sum of a background, the cues that can be seen or heard in that second, and noise. Backgrounds are common
to all classes; a class has cues of its own and shares others with the classes it is taken for. Nothing here knows about
time; see `scenes` for what happens when.

D features of a stream, Q cues of a stream, J directions in which a cue varies.
"""

from dataclasses import dataclass

import numpy as np

from segsearch.core.features import YOUTUBE8M
from segsearch.core.sample.names import FAMILY_SIZE

DIRECTIONS = 4
_BACKGROUNDS = 12
_CLUTTER = 16
_FAMILY_CUES = 1 + 2 * FAMILY_SIZE  # one of the family, two of each appearance


@dataclass(frozen=True, slots=True)
class Strengths:
    """Standard deviations of what makes up a frame, before the spectrum; features are clipped at 2."""

    background: float
    cue: float
    variation: float  # along one of a cue's directions
    noise: float


# Sound has an eighth of the features and would hardly be heard beside the picture at equal strength.
RGB_STRENGTHS = Strengths(background=0.75, cue=0.7, variation=0.35, noise=0.7)
AUDIO_STRENGTHS = Strengths(background=0.75, cue=1.2, variation=0.4, noise=0.55)

ClassCues = tuple[tuple[int, ...], ...]  # by class ordinal, rows of Palette.cues


@dataclass(frozen=True, slots=True, eq=False)
class Palette:
    """One stream's backgrounds and cues."""

    spectrum: np.ndarray  # (D,) float32, falls with the feature's number as principal components do
    backgrounds: np.ndarray  # (backgrounds, D) float32
    cues: np.ndarray  # (Q, D) float32
    directions: np.ndarray  # (Q, J, D) float32
    class_cues: ClassCues
    clutter: tuple[int, ...]  # cues of no class: titles, faces, speech
    noise: float


@dataclass(frozen=True, slots=True)
class World:
    """Everything that the videos of one sample have in common: a palette for each stream."""

    palettes: tuple[Palette, ...]

    @classmethod
    def make(cls, class_count: int, rgb: np.random.Generator, audio: np.random.Generator) -> "World":
        """Draws a world for the first `class_count` classes; equal generators give equal worlds."""
        sizes = [stream.size for stream in YOUTUBE8M.streams]
        return cls((
            _palette(rgb, sizes[0], cues_of_classes(class_count, alike=(0, 1)), RGB_STRENGTHS),
            _palette(audio, sizes[1], cues_of_classes(class_count, alike=(1, 2)), AUDIO_STRENGTHS),
        ))  # fmt: skip


def cues_of_classes(class_count: int, alike: tuple[int, int]) -> ClassCues:
    """Each class's three cues: one of its whole family, and two of its appearance in this stream.

    The two members named in `alike` have one appearance. As rgb and audio name different pairs, the middle member has
    nothing of its own: it is where the first one's picture meets the last one's sound.
    """
    cues = []
    for ordinal in range(class_count):
        family, member = divmod(ordinal, FAMILY_SIZE)
        appearance = alike[0] if member in alike else member
        first = family * _FAMILY_CUES
        cues.append((first, first + 1 + 2 * appearance, first + 2 + 2 * appearance))
    return tuple(cues)


def _palette(random: np.random.Generator, size: int, class_cues: ClassCues, strengths: Strengths) -> Palette:
    owned = 1 + max(max(cues) for cues in class_cues)
    # A square root is rounded alike on every machine; a general power is not.
    spectrum = (1 / np.sqrt(1 + 8 * np.arange(size) / size)).astype(np.float32)

    def points(strength: float, *shape: int) -> np.ndarray:
        return random.standard_normal((*shape, size), np.float32) * (spectrum * np.float32(strength))

    return Palette(
        spectrum=spectrum,
        backgrounds=points(strengths.background, _BACKGROUNDS),
        cues=points(strengths.cue, owned + _CLUTTER),
        directions=points(strengths.variation, owned + _CLUTTER, DIRECTIONS),
        class_cues=class_cues,
        clutter=tuple(range(owned, owned + _CLUTTER)),
        noise=strengths.noise,
    )
