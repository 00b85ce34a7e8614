"""Videos through the queue, many at a time: each has the scores it has alone, and clients take turns."""

from collections import Counter, deque

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segsearch.core.blocks import Piece
from segsearch.core.bundle import Bundle
from segsearch.service.scoring.batching_scorer import BatchingScorer
from segsearch.service.scoring.fair_queue import FairQueue, Waiting
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from segsearch.service.scoring.scorer import Caller
from tests.tiny_blocks import tiny_line, write_block_bundle
from tests.tiny_model import SPEC, write_tiny_bundle

ROUNDING = 1e-6  # kernels add up in another order where a batch has another size
videos_of_any_length = st.lists(
    st.integers(1, 90).flatmap(lambda frame_count: arrays(np.uint8, (frame_count, SPEC.size))), min_size=1, max_size=8
)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> dict[str, Bundle]:
    """A graph of each layout."""
    blocks = write_block_bundle(tmp_path_factory.mktemp("blocks"), tiny_line(context=7))
    windows = write_tiny_bundle(tmp_path_factory.mktemp("windows"))
    return {"blocks": Bundle.open(blocks), "windows": Bundle.open(windows)}


@settings(max_examples=25)
@given(
    st.sampled_from(["blocks", "windows"]), videos_of_any_length, st.integers(1, 40), st.integers(1, 3),
    st.sampled_from([0, 2]),
)  # fmt: skip
def test_videos_in_the_queue_score_as_they_do_alone(bundles, layout, videos, batch, threads, wait_ms):
    tuned = {"batch": batch, "threads": threads}
    with BatchingScorer(OnnxScorer(bundles[layout], **tuned), batch_wait_ms=wait_ms) as queued:
        waiting = [queued.submit(frames, Caller(f"client {row % 3}")) for row, frames in enumerate(videos)]
        found = [scores.result(60) for scores in waiting]
    with OnnxScorer(bundles[layout], **tuned) as plain:
        for frames, scores in zip(videos, found, strict=True):
            wanted = plain.score(frames)
            np.testing.assert_array_equal(scores.starts, wanted.starts)
            np.testing.assert_allclose(scores.probabilities, wanted.probabilities, atol=ROUNDING, rtol=0)
            np.testing.assert_allclose(scores.embeddings, wanted.embeddings, atol=ROUNDING, rtol=ROUNDING)


def waiting_of(client: str, segment_counts: list[int]) -> Waiting:
    """A video of these pieces; what they show does not matter here."""
    frames = np.zeros((5 * sum(segment_counts), 1), np.uint8)
    return Waiting(frames, deque(Piece(frames, 0, count) for count in segment_counts), Caller(client), 0.0)


sent = st.lists(st.tuples(st.sampled_from("abc"), st.lists(st.integers(1, 6), min_size=1, max_size=4)), max_size=25)
steps = st.lists(st.one_of(st.tuples(st.just("take"), st.integers(1, 20)), st.tuples(st.just("leave"), st.integers(0))))


@settings(max_examples=200)
@example([("a", [1]), ("a", [1]), ("a", [1]), ("b", [1, 1]), ("b", [1])], [("take", 4)])  # b's first is in it already
@given(sent, steps)
def test_the_queue_keeps_its_books_and_its_turns(videos, steps):
    queue, inside = FairQueue(200), []
    for client, counts in videos:
        waiting = waiting_of(client, counts)
        if queue.has_room(client, len(waiting.frames)):
            queue.put(waiting)
            inside.append(waiting)
    for step, number in steps:
        if step == "leave" and inside:
            queue.leave(inside.pop(number % len(inside)))
        elif step == "take":
            before = {w.caller.client for w in inside if w.pieces}
            taken = queue.take(number)
            turns = Counter(each.waiting.caller.client for each in taken)
            assert len({id(each.waiting) for each in taken}) == len(taken)  # no two pieces of one video
            assert sum(each.piece.segment_count for each in taken[:-1]) < number
            still = {w.caller.client for w in inside if w.pieces and w not in [each.waiting for each in taken]}
            # Whoever could have had another turn had no fewer than anybody else, up to the last round.
            assert all(turns[client] >= max(turns.values(), default=0) - 1 for client in before & still)
        assert queue.frames == sum(len(waiting.frames) for waiting in inside)
        assert queue.segments == sum(piece.segment_count for waiting in inside for piece in waiting.pieces)
    while queue.segments:
        queue.take(7)
    assert [waiting.pieces for waiting in inside if waiting.pieces] == []
