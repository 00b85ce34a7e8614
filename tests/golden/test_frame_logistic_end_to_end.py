"""The reference's frame-level logistic model through the whole line: weights in, Kaggle submission out.

Network → checkpoint → bundle → generation → CSV, held against the CSV that google/youtube-8m's inference.py wrote for
the same weights and the same five test videos.
"""

import numpy as np
import pytest

from segsearch.core.bundle import Bundle
from segsearch.core.features import YOUTUBE8M
from segsearch.core.score_codes import STEPS_PER_LOGIT
from segsearch.core.vocabulary import Entry, Vocabulary
from segsearch.export.packing import pack
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.jobs.reindex import reindex
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from segsearch.service.submission import ranked_classes, read_submission, write_submission
from segsearch.training.aggregations import FrameMeanConfig, LogisticConfig
from segsearch.training.checkpoint import Checkpoint
from segsearch.training.config import NetworkConfig
from segsearch.training.models.network import Network


@pytest.fixture(scope="module")
def reference(golden):
    return np.load(golden / "e2e_framelogistic_weights.npz")


@pytest.fixture(scope="module")
def bundle(reference, tmp_path_factory):
    """The reference's weights, restricted to its 1000 segment classes, as a bundle."""
    labels = reference["segment_class_ids"]
    vocabulary = Vocabulary(Entry(int(label), f"label {label}") for label in labels)
    config = NetworkConfig(aggregation=FrameMeanConfig(), head=LogisticConfig())
    network = Network(config, YOUTUBE8M, len(labels))
    network.head.kernel.assign(reference["var/tower/fully_connected/weights"][:, labels])
    network.head.biases.assign(reference["var/tower/fully_connected/biases"][labels])
    checkpoint = Checkpoint(
        directory=tmp_path_factory.mktemp("checkpoint"), run="frame_logistic", network_config=config,
        features=YOUTUBE8M, vocabulary=vocabulary, context_frames=0, stage="stage2", step=0,
    )  # fmt: skip
    checkpoint.write(network)
    loaded = Checkpoint.load(checkpoint.directory)
    return Bundle.open(pack(loaded, tmp_path_factory.mktemp("bundles"), "frame_logistic", 1).directory)


def submission(bundle, golden, folder, keep):
    """Ranked ids by label index, through generation and CSV."""
    index = IndexDirectory(folder / "index")
    with OnnxScorer(bundle) as scorer:
        reindex(scorer, [golden / "test_frames.tfrecord"], index, keep=keep)
    write_submission(folder / "submission.csv", ranked_classes(index.open_current()))
    return {ranked.label_index: ranked.segments for ranked in read_submission(folder / "submission.csv")}


@pytest.fixture(scope="module")
def ours(bundle, golden, tmp_path_factory):
    return submission(bundle, golden, tmp_path_factory.mktemp("all"), keep=100_000)


@pytest.fixture(scope="module")
def theirs(golden):
    path = golden / "e2e_submission_top1000_max100000.csv"
    return {ranked.label_index: ranked.segments for ranked in read_submission(path)}


@pytest.fixture(scope="module")
def logits(reference):
    """The reference's own scores as logits, by label index and segment id."""
    names = ("ts37", "ts12", "ts60", "ts05", "ts3h")
    segments = [f"{names[video]}:{start}" for video, start in reference["video_segment_ids"]]
    p = reference["predictions_segment_classes"].astype(np.float64)
    table = np.log(p) - np.log1p(-p)  # (84, 1000)
    return {
        int(label): dict(zip(segments, table[:, column], strict=True))
        for column, label in enumerate(reference["segment_class_ids"])
    }


def test_every_class_ranks_the_same_segments_as_the_reference(ours, theirs):
    assert set(ours) == set(theirs)
    assert all(set(ours[label]) == set(theirs[label]) for label in theirs)


def test_by_the_references_own_scores_no_pair_stands_in_wrong_order(ours, logits):
    # A score code is one step of the logit wide; within a step, ties go to the earlier segment.
    for label, segments in ours.items():
        falling = np.array([logits[label][segment] for segment in segments])
        assert np.diff(falling).max() <= 1 / STEPS_PER_LOGIT + 1e-4


def test_the_first_places_are_the_references_unless_scores_tie(ours, theirs, logits):
    for label, segments in theirs.items():
        first, second = logits[label][segments[0]], logits[label][segments[1]]
        assert ours[label][0] == segments[0] or first - second <= 1 / STEPS_PER_LOGIT + 1e-4


def test_a_shorter_list_is_the_beginning_of_the_long_one(bundle, golden, ours, tmp_path):
    shorter = submission(bundle, golden, tmp_path, keep=30)
    assert all(segments == ours[label][:30] for label, segments in shorter.items())
