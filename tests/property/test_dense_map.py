"""Dense MAP against plain loops over segments."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segsearch.core.videos import Video
from segsearch.core.vocabulary import Entry, Vocabulary
from segsearch.training.input.survey import RatedSegments
from segsearch.training.score_matrix import ScoreMatrix
from segsearch.training.student.dense import carried, dense_map

CLASSES = 3


@st.composite
def judged(draw):
    """A matrix of some videos' segments, what people said of some pairs, and which classes each video carries."""
    counts = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    total, random = sum(counts), np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    videos = np.repeat(np.arange(len(counts), dtype=np.uint32), counts)
    starts = np.concatenate([5 * np.arange(count, dtype=np.uint32) for count in counts])
    codes = random.integers(30_000, 30_000 + draw(st.sampled_from([3, 4_000])), (total, CLASSES)).astype(np.uint16)
    names = np.arange(len(counts)).astype(str)
    matrix = ScoreMatrix(Path("made up"), None, np.arange(CLASSES), names, videos, starts, codes)
    rated_segments = np.flatnonzero(random.random(total) < 0.5)
    ids = tuple((str(videos[segment]), int(starts[segment])) for segment in rated_segments)
    pairs = np.argwhere(random.random((len(ids), CLASSES)) < 0.6)
    rated = RatedSegments(ids, pairs[:, 0], pairs[:, 1], random.integers(0, 2, len(pairs)).astype(np.float32), 0)
    return matrix, rated, {name: random.random(CLASSES) < 0.5 for name in names.tolist()}


@given(judged())
def test_a_class_ranks_its_rated_pairs_among_all_segments_of_videos_without_it(made):
    matrix, rated, carries = made
    precisions = []
    for ordinal in range(CLASSES):
        pairs = zip(rated.rows, rated.ordinals, rated.scores, strict=True)
        said = {rated.ids[row]: score for row, of, score in pairs if of == ordinal}
        listed = []
        for row, (video, start) in enumerate(zip(matrix.segment_videos.tolist(), matrix.segment_starts, strict=True)):
            segment = (str(video), int(start))
            if segment in said or not carries[str(video)][ordinal]:
                listed.append((-int(matrix.codes[row, ordinal]), row, said.get(segment, 0) > 0))
        hits = [hit for _, _, hit in sorted(listed)]
        if any(hits):
            found = [sum(hits[: place + 1]) / (place + 1) for place, hit in enumerate(hits) if hit]
            precisions.append(np.mean(found))
    value = dense_map(matrix, rated, carries)
    assert np.isnan(value) if not precisions else abs(value - np.mean(precisions)) < 1e-9


@given(judged())
def test_a_video_whose_labels_nobody_knows_gives_no_negatives(made):
    matrix, rated, carries = made
    everything = dict.fromkeys(carries, np.ones(CLASSES, bool))
    np.testing.assert_equal(dense_map(matrix, rated, {}), dense_map(matrix, rated, everything))


def test_a_video_carries_the_classes_that_its_labels_name():
    classes = Vocabulary(tuple(Entry(label, str(label)) for label in (7, 3, 11)))
    frames = np.zeros((5, 4), np.uint8)
    found = carried([Video("one", np.array([3, 4, 7]), frames=frames), Video("two", None, frames=frames)], classes)
    assert list(found) == ["one"]
    assert found["one"].tolist() == [True, True, False]
