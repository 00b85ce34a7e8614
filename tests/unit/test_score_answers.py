"""The answer to a long video, over HTTP and over gRPC: right, whole, and little more in memory than itself."""

import json
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from segsearch.core.errors import InputTooLarge
from segsearch.core.segments import SEGMENT_FRAMES
from segsearch.service.page_making import check_tags
from segsearch.service.pages import PART_TAGS, ScoredVideo
from segsearch.service.rest.answers import BundleAnswer, ScoreAnswer, Upload, score_json, tag_texts
from segsearch.service.rpc.messages import score_bytes
from segsearch.service.rpc.requests import Upload as RpcUpload
from segsearch.v1 import search_pb2 as pb

TAGS = 8  # as many classes as the tiny bundle has
SEGMENTS = 3 * PART_TAGS // TAGS + 5  # a part that is not full is the last


@pytest.fixture(scope="module")
def scored(tiny_bundle) -> ScoredVideo:
    random = np.random.default_rng(3)
    classes = random.permuted(np.tile(np.arange(TAGS), (SEGMENTS, 1)), axis=1)
    probabilities = np.sort(random.random((SEGMENTS, TAGS), np.float32), axis=1)[:, ::-1]
    return ScoredVideo(np.arange(SEGMENTS) * SEGMENT_FRAMES, classes, probabilities, tiny_bundle)


def written(scored: ScoredVideo) -> bytes:
    told = Upload('a"b', SEGMENTS * SEGMENT_FRAMES, BundleAnswer.of(scored.bundle))
    return score_json(told, scored, tag_texts(scored.bundle.vocabulary))


def test_every_segment_is_there_in_order_with_its_tags(scored):
    answer = ScoreAnswer.model_validate_json(written(scored))
    assert [segment.start_s for segment in answer.segments] == scored.starts.tolist()
    assert answer.segments[-1].segment == f'a"b:{scored.starts[-1]}'
    entries = scored.bundle.vocabulary.entries
    for row in (0, PART_TAGS // TAGS - 1, PART_TAGS // TAGS, SEGMENTS - 1):
        found = [(tag.label_index, np.float32(tag.score)) for tag in answer.segments[row].tags]
        labels = [entries[place].label_index for place in scored.classes[row]]
        assert found == list(zip(labels, scored.probabilities[row], strict=True))


def test_grpc_says_the_same(scored):
    upload = RpcUpload("mine", np.zeros((SEGMENTS * SEGMENT_FRAMES, 1), np.uint8), TAGS, False)
    answer = pb.ScoreResponse.FromString(score_bytes(upload, scored, None))
    rest = json.loads(written(scored))["segments"]
    assert (answer.video, answer.frames, answer.bundle.digest) == ("mine", len(upload.frames), scored.bundle.digest)
    assert [(each.start_s, [(tag.tag, tag.label_index) for tag in each.tags]) for each in answer.segments] == [
        (each["start_s"], [(tag["tag"], tag["label_index"]) for tag in each["tags"]]) for each in rest
    ]
    scores = [[tag.score for tag in each.tags] for each in answer.segments]
    np.testing.assert_array_equal(np.array(scores, np.float32), scored.probabilities)


def test_writing_takes_little_more_than_what_is_written(scored):
    written(scored)
    tracemalloc.start()
    try:
        size_bytes = len(written(scored))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    part_bytes = size_bytes * PART_TAGS // scored.classes.size
    assert peak_bytes < 1.5 * size_bytes + 6 * part_bytes


@pytest.mark.parametrize(("frames", "top"), [(36_000, 555), (20_000, 1000), (36_000, 1)])
def test_as_many_tags_as_may_be_asked_for_are_let_through(frames, top):
    check_tags(SimpleNamespace(vocabulary=range(1000)), frames, top, "top")


def test_more_are_refused_and_the_error_says_how_many_may_be():
    with pytest.raises(InputTooLarge, match="top: 1000 tags of each of 7200 segments; wanted at most 555") as raised:
        check_tags(SimpleNamespace(vocabulary=range(1000)), 36_000, 1000, "top")
    assert raised.value.field == "top"
