"""What a compaction takes in, and which generations it leaves."""

import pytest

from segsearch.core.errors import ConfigError, LackingScores
from segsearch.core.score_codes import encode_probabilities
from segsearch.service.index.format import LIVE
from segsearch.service.index.live.store import LiveStore
from segsearch.service.jobs.compaction import compact
from segsearch.service.jobs.live_videos import replay
from segsearch.service.jobs.reindex import reindex
from tests.library_fixtures import make_videos
from tests.tiny_model import SPEC

UPLOADS = make_videos(6, seed=7, prefix="up")


@pytest.fixture
def store(index):
    with LiveStore.open(index.root / LIVE, SPEC.space) as opened:
        yield opened


def upload(store, scorer, video):
    store.put(
        video.id, video.frames, {scorer.bundle.digest: encode_probabilities(scorer.score(video.frames).probabilities)}
    )


def test_the_way_back_to_another_model_outlives_any_number_of_compactions(index, store, shards, next_scorer):
    reindex(next_scorer, shards, index, keep=1000, store=store)
    for video in UPLOADS[:4]:
        upload(store, next_scorer, video)
        compact(index, store, keep_generations=2)
    assert (index.numbers(), index.current()) == ([1, 5, 6], 6)
    reindex(next_scorer, shards, index, keep=1000, store=store, keep_generations=2)
    assert index.numbers() == [6, 7]  # a reindex counts all


def test_what_another_bundle_scored_meanwhile_is_not_called_by_this_one_s_name(index, store, scorer, next_scorer):
    class Busy:
        """A store to which another server uploads whenever its changes are about to be read."""

        def __getattr__(self, name):
            return getattr(store, name)

        def follow(self, after, bundle):
            upload(store, next_scorer, UPLOADS[1])
            return store.follow(after, bundle)

    upload(store, scorer, UPLOADS[0])
    with pytest.raises(LackingScores, match="1 live videos without scores of tiny/1"):
        compact(index, Busy())
    assert index.numbers() == [1]
    replay(scorer, store, 0)
    assert compact(index, store).manifest.bundle.digest == scorer.bundle.digest


def test_compacting_keeps_one_generation_at_least(index, store):
    with pytest.raises(ConfigError, match="keep_generations is 0, wanted 1 to 1000"):
        compact(index, store, keep_generations=0)
