"""What happens in a made-up video, and that people's ratings say so."""

import numpy as np
import pytest

from segsearch.core.sample.names import FAMILIES, MOST_CLASSES, alike, sample_vocabulary, segment_classes
from segsearch.core.sample.rendering import CUE_SHOWS, cues_shown, render
from segsearch.core.sample.scenes import Scene, draw_scene, rate
from segsearch.core.sample.world import World, cues_of_classes

CLASSES = 12
LABELS = np.arange(CLASSES, dtype=np.int64) * 10


def generator(seed):
    return np.random.Generator(np.random.PCG64(seed))


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(generator(seed), CLASSES) for seed in range(300)]


@pytest.fixture(scope="module")
def rated(scenes):
    """(scene, class ordinal, start, score) of every rating of every scene."""
    rows = []
    for seed, scene in enumerate(scenes):
        ratings = rate(generator(seed), scene, range(CLASSES), LABELS)
        for start, label, score in zip(ratings.starts, ratings.labels // 10, ratings.scores, strict=True):
            rows.append((scene, int(label), int(start), float(score)))
    return rows


@pytest.fixture(scope="module")
def world():
    return World.make(CLASSES, generator(1), generator(2))


def seconds_shown(scene, ordinal, start):
    """For how many frames of a segment the class holds."""
    return sum(int(holds[start : start + 5].sum()) for tag, holds in zip(scene.classes, scene.holds, strict=True)
               if tag == ordinal)  # fmt: skip


def test_a_video_lasts_120_to_300_seconds(scenes):
    lengths = [scene.frame_count for scene in scenes]
    assert 120 <= min(lengths) < 140 < 280 < max(lengths) <= 300


def test_most_videos_have_two_to_four_tags(scenes):
    assert np.mean([2 <= len(scene.classes) <= 4 for scene in scenes]) > 0.75


def test_every_tag_holds_somewhere_and_hardly_any_holds_throughout(scenes):
    shares = np.concatenate([scene.holds.mean(axis=1) for scene in scenes])
    assert shares.min() > 0
    assert np.mean(shares < 0.5) > 0.95


def test_spans_begin_without_regard_to_segments(scenes):
    begins = np.concatenate([np.flatnonzero(np.diff(row.astype(int)) == 1) + 1 for s in scenes for row in s.holds])
    assert np.bincount(begins % 5, minlength=5).min() > 0.7 * len(begins) / 5


def test_a_yes_means_the_tag_holds_for_most_of_the_segment(rated):
    assert all(seconds_shown(scene, tag, start) >= 4 for scene, tag, start, score in rated if score == 1)


def test_a_no_means_the_tag_holds_in_none_of_the_segment(rated):
    assert all(seconds_shown(scene, tag, start) == 0 for scene, tag, start, score in rated if score == 0)


def test_some_noes_are_for_tags_that_the_video_has_elsewhere(rated):
    assert np.mean([tag in scene.classes for scene, tag, _, score in rated if score == 0]) > 0.5


def test_some_noes_are_for_tags_that_could_be_taken_for_the_one_shown(rated):
    strangers = [(scene, tag, start) for scene, tag, start, score in rated if tag not in scene.classes]
    assert len(strangers) > 0.1 * len(rated)
    assert all(
        any(seconds_shown(scene, like, start) for like in alike(tag, CLASSES)) for scene, tag, start in strangers
    )


def test_between_a_quarter_and_two_fifths_of_the_ratings_are_yes(rated):
    assert 0.25 < np.mean([score for *_, score in rated]) < 0.4


def test_a_pair_is_rated_once(rated):
    pairs = [(id(scene), tag, start) for scene, tag, start, _ in rated]
    assert len(set(pairs)) == len(pairs)


def test_the_ends_of_a_video_are_never_rated(rated):
    assert all(30 <= start < scene.frame_count - 5 for scene, _, start, _ in rated)


def test_classes_that_are_not_rated_get_no_rating(scenes):
    ratings = [rate(generator(seed), scene, segment_classes(CLASSES), LABELS) for seed, scene in enumerate(scenes)]
    assert set(np.concatenate([one.labels for one in ratings]) // 10) == set(range(CLASSES)) - {7}


def test_the_first_two_of_a_family_look_alike_and_sound_different():
    rgb, audio = cues_of_classes(3, alike=(0, 1)), cues_of_classes(3, alike=(1, 2))
    assert rgb[0] == rgb[1]
    assert audio[0] != audio[1]


def test_the_last_two_of_a_family_sound_alike_and_look_different():
    rgb, audio = cues_of_classes(3, alike=(0, 1)), cues_of_classes(3, alike=(1, 2))
    assert audio[1] == audio[2]
    assert rgb[1] != rgb[2]


def test_families_share_no_cue():
    first, second = cues_of_classes(6, alike=(0, 1))[:3], cues_of_classes(6, alike=(0, 1))[3:]
    assert not {cue for cues in first for cue in cues} & {cue for cues in second for cue in cues}


def test_a_class_is_seen_in_some_seconds_of_its_span_only(world):
    scene = Scene(np.array([4]), np.ones((1, 300), bool))
    palette = world.palettes[0]
    shown = cues_shown(generator(0), scene, palette)[list(palette.class_cues[4])].any(axis=0)
    assert CUE_SHOWS - 0.1 < shown.mean() < CUE_SHOWS + 0.15


def test_frames_are_byte_codes_of_rgb_and_audio(world, scenes):
    frames = render(generator(0), scenes[0], world)
    assert (frames.dtype, frames.shape) == (np.uint8, (scenes[0].frame_count, 1152))


def test_few_codes_are_clipped_and_later_features_vary_less(world, scenes):
    frames = np.concatenate([render(generator(seed), scene, world) for seed, scene in enumerate(scenes[:10])])
    spread = frames.std(axis=0)
    assert np.isin(frames, (0, 255)).mean() < 0.05
    assert spread[:100].mean() > 1.5 * spread[924:1024].mean() > 0


def test_all_names_differ_and_label_indices_have_gaps():
    vocabulary = sample_vocabulary(MOST_CLASSES)
    assert len({entry.name for entry in vocabulary.entries}) == MOST_CLASSES == 3 * len(FAMILIES)
    assert [entry.label_index for entry in vocabulary.entries[:3]] == [3, 10, 17]
