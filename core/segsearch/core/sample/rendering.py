"""A scene's frames: what can be seen and heard in each second, as byte codes.

In a span of a tag each second shows one of the class's cues or none; strays of like classes and clutter come in
between. So one frame is not enough to tell, and a window of frames mostly is.

T frames, D features of a stream, Q cues, F codes a frame.
"""

from collections.abc import Sequence

import numpy as np

from segsearch.core.features import quantise
from segsearch.core.sample.names import alike
from segsearch.core.sample.scenes import Scene
from segsearch.core.sample.world import DIRECTIONS, Palette, World

SHOT_S = (4, 30)  # between cuts
CUE_SHOWS = 0.45  # probability that a second of a span shows a cue, for picture and sound apart
STRAY_SHOWS = 0.07  # probability, in any second, of a cue of a family the video has to do with
CLUTTER_SHOWS = 0.3


def render(random: np.random.Generator, scene: Scene, world: World) -> np.ndarray:
    """(T, F) uint8 codes of a scene, streams side by side."""
    streams = [_render_stream(random, scene, palette) for palette in world.palettes]
    return np.concatenate([quantise(values) for values in streams], axis=1)


def _render_stream(random: np.random.Generator, scene: Scene, palette: Palette) -> np.ndarray:
    """(T, D) float32 features of one stream.

    Sums elementwise on purpose: a matrix product rounds differently from machine to machine, and codes would flip.
    """
    frames = random.standard_normal((scene.frame_count, len(palette.spectrum)), np.float32)
    frames *= palette.spectrum * np.float32(palette.noise)
    frames += palette.backgrounds[_shots(random, scene.frame_count, len(palette.backgrounds))]
    shown = cues_shown(random, scene, palette)
    for cue in np.flatnonzero(shown.any(axis=1)):
        # How the cue looks is this video's own and stays: one guitar, not another each second.
        amounts = random.standard_normal(DIRECTIONS, np.float32)
        appearance = palette.cues[cue].copy()
        for direction, amount in zip(palette.directions[cue], amounts, strict=True):
            appearance += direction * amount
        frames[shown[cue]] += appearance
    return frames


def cues_shown(random: np.random.Generator, scene: Scene, palette: Palette) -> np.ndarray:
    """(Q, T) bool: the cues of each second."""
    seconds = np.arange(scene.frame_count)
    shown = np.zeros((len(palette.cues), scene.frame_count), bool)

    def show(cues: Sequence[int], probability: float, where: np.ndarray) -> None:
        """In each second of `where` (T,) bool, with this probability, one of the cues."""
        picked = np.array(cues)[random.integers(len(cues), size=scene.frame_count)]
        chosen = where & (random.random(scene.frame_count) < probability)
        shown[picked[chosen], seconds[chosen]] = True

    always = np.ones(scene.frame_count, bool)
    for ordinal, holds in zip(scene.classes, scene.holds, strict=True):
        show(palette.class_cues[ordinal], CUE_SHOWS, holds)
    show(_cues_around(scene, palette), STRAY_SHOWS, always)
    show(palette.clutter, CLUTTER_SHOWS, always)
    return shown


def _cues_around(scene: Scene, palette: Palette) -> list[int]:
    """Cues of the scene's classes and of all that are like them."""
    class_count = len(palette.class_cues)
    around = {like for ordinal in scene.classes for like in alike(int(ordinal), class_count)}
    return sorted({cue for like in around for cue in palette.class_cues[like]})


def _shots(random: np.random.Generator, frame_count: int, kinds: int) -> np.ndarray:
    """(T,) int64: the background of each second; it changes at cuts."""
    lengths = random.integers(SHOT_S[0], SHOT_S[1] + 1, size=frame_count // SHOT_S[0] + 1)
    return np.repeat(random.integers(kinds, size=len(lengths)), lengths)[:frame_count]
