"""Level two's features against plain loops, and the order it gives a column."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segsearch.core.score_codes import LOGITS
from segsearch.training.level_two.features import feature_names, features_of
from segsearch.training.level_two.order import candidates_of, reordered
from segsearch.training.level_two.scored import Scored
from segsearch.training.score_matrix import ScoreMatrix

CODES = st.integers(20_000, 45_000)


@st.composite
def scored_segments(draw):
    """Some videos' segments, scored by two models and an ensemble for two classes."""
    counts = draw(st.lists(st.integers(1, 7), min_size=1, max_size=6))
    total, random = sum(counts), np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def matrix():
        # Few different codes, so that there are ties.
        codes = random.integers(30_000, 30_000 + draw(st.sampled_from([3, 4_000])), (total, 2)).astype(np.uint16)
        return ScoreMatrix(
            Path("made up"), None, np.arange(2), np.arange(len(counts)).astype(str),
            np.repeat(np.arange(len(counts), dtype=np.uint32), counts), np.zeros(total, np.uint32), codes,
        )  # fmt: skip

    return Scored(((matrix(),), (matrix(), matrix())), matrix())


@given(scored_segments(), st.integers(0, 1))
def test_features_are_those_of_plain_loops(scored, ordinal):
    found = features_of(scored, ordinal, prior=0.25)
    names = feature_names(["one", "two"])
    assert found.shape == (len(scored), len(names))
    for row in range(len(scored)):
        expected = plain_features(scored, ordinal, row)
        for name, value in zip(names, found[row].tolist(), strict=True):
            assert abs(value - expected[name]) <= 1e-4, name


def plain_features(scored, ordinal, row):
    """One segment's features, one after the other."""
    models = [np.mean([LOGITS[matrix.codes[:, ordinal]] for matrix in model], axis=0) for model in scored.models]
    ensemble = LOGITS[scored.ensemble.codes[:, ordinal]]
    videos = scored.ensemble.segment_videos
    video = [other for other in range(len(videos)) if videos[other] == videos[row]]
    place, own = video.index(row), [float(model[row]) for model in models]
    ranked = sorted(video, key=lambda other: (-ensemble[other], other))

    def neighbour(distance):
        return ensemble[video[min(max(place + distance, 0), len(video) - 1)]]

    return {
        "model:one": own[0], "model:two": own[1], "mean": np.mean(own), "deviation": np.std(own), "lowest": min(own),
        "highest": max(own), "votes": np.mean([np.mean(model < model[row]) >= 0.95 for model in models]),
        "ensemble": ensemble[row], "rank": np.mean(ensemble < ensemble[row]),
        "behind_best_class": ensemble[row] - LOGITS[scored.ensemble.codes[row]].max(),
        "rank_in_video": ranked.index(row) / len(video), "behind_best_in_video": ensemble[row] - ensemble[video].max(),
        "video_mean": ensemble[video].mean(), "video_best": ensemble[video].max(),
        "video_top": np.mean([ensemble[other] for other in ranked[:3]]),
        "before": neighbour(-1), "after": neighbour(1), "two_before": neighbour(-2), "two_after": neighbour(2),
        "position": place / len(video), "from_start": place, "from_end": len(video) - 1 - place, "prior": 0.25,
    }  # fmt: skip


@given(st.lists(CODES, min_size=1, max_size=30), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_candidates_share_out_their_own_codes_and_stay_in_front(codes, count, seed):
    column = np.array(codes, np.uint16)
    candidates = candidates_of(column, count)
    scores = np.random.default_rng(seed).normal(size=len(candidates))
    dealt = reordered(column, candidates, scores, 1.0)
    others = np.setdiff1d(np.arange(len(column)), candidates)
    np.testing.assert_array_equal(dealt[others], column[others])
    np.testing.assert_array_equal(np.sort(dealt), np.sort(column))
    assert (np.diff(dealt[candidates[np.argsort(-scores)]].astype(int)) <= 0).all()
    assert dealt[candidates].min(initial=65535) >= dealt[others].max(initial=0)


@given(st.lists(CODES, min_size=1, max_size=30), st.integers(0, 2**32 - 1))
def test_without_weight_the_order_is_the_ensembles(codes, seed):
    column = np.array(codes, np.uint16)
    candidates = candidates_of(column, len(column))
    scores = np.random.default_rng(seed).normal(size=len(column))
    np.testing.assert_array_equal(reordered(column, candidates, scores, 0.0), column)
