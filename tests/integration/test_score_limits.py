"""A video with more tags than an answer may have: refused over HTTP and over gRPC, and nothing of it is scored."""

import numpy as np

from segsearch.service.settings import Settings
from segsearch.service.uploads.json_values import NUMBER_LIMIT
from segsearch.v1 import search_pb2 as pb
from tests.integration.test_micro_batching import value
from tests.library_fixtures import serving
from tests.rest_bodies import NPY, npy_of, problem
from tests.rpc_serving import failure, info, stub_of
from tests.tiny_model import NAMES, SPEC

SEGMENTS = NUMBER_LIMIT // len(NAMES) + 1
FRAMES = np.zeros((5 * SEGMENTS, SPEC.size), np.uint8)
LIMITS = Settings(port=0, frame_limit=len(FRAMES), shutdown_s=5)


def test_more_tags_than_an_answer_may_have_are_refused_before_anything_is_scored(served_library):
    with serving(served_library, LIMITS) as client:
        answer = client.post("/score", params={"top": 1000}, content=npy_of(FRAMES), headers=NPY)
        assert f"{len(NAMES)} tags of each of {SEGMENTS} segments" in problem(answer, 413, "too-large")
        assert answer.json()["field"] == "query.top"
        assert value(client, "segsearch_scored_segments_total") == 0
    with stub_of(served_library, LIMITS) as stub:
        error = failure(stub.Score, pb.ScoreRequest(frames=FRAMES.tobytes(), top=1000))
        assert (info(error).reason, info(error).metadata["field"]) == ("too-large", "top")
