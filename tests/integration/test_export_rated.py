"""What a bundle's models are worth on rated shards: the manifest has the figure that ranking by hand gives."""

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from segsearch.core.bundle import Bundle, Metric
from segsearch.core.errors import DataError
from segsearch.core.ranking import SegmentRatings, segment_map
from segsearch.core.segments import segment_id
from segsearch.core.videos import Ratings, Video
from segsearch.export.cli import export
from segsearch.export.packing import pack
from segsearch.export.rated import RatedShards
from segsearch.service.scoring.bundle_report import described
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from segsearch.training.aggregations import LogisticConfig, LSTMConfig
from segsearch.training.config import NetworkConfig
from segsearch.training.rated_map import RATED_MAP, RATED_PROTOCOL
from tests.integration.test_export import FEATURES, VOCABULARY, checkpoint_of, packed_network
from tests.library_fixtures import write_shards

LABELS = [entry.label_index for entry in VOCABULARY.entries]


def rated_videos(count, seed=1, labels=LABELS):
    """Videos of 1 to 60 frames, about every second segment rated for some classes, in no order."""
    random = np.random.default_rng(seed)
    videos = []
    for number in range(count):
        frames = random.integers(0, 256, (int(random.integers(1, 61)), FEATURES.size), np.uint8)
        pairs = [(start, label) for start in range(0, len(frames), 5) for label in labels if random.random() < 0.4]
        random.shuffle(pairs)
        starts, rated = np.array(pairs, np.int64).reshape(-1, 2).T
        ratings = Ratings(starts, rated, random.integers(0, 2, len(pairs)).astype(np.float32))
        videos.append(Video(f"v{number:03d}", None, ratings, frames=frames))
    return videos


@pytest.fixture(scope="module")
def videos():
    return rated_videos(40)


@pytest.fixture(scope="module")
def shards(videos, tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("rated"), videos, spec=FEATURES)


@pytest.fixture(scope="module")
def packed(shards, tmp_path_factory):
    root = tmp_path_factory.mktemp("bundles")
    return pack(checkpoint_of(root / "c"), root, "tiny", 1, rated=RatedShards(shards, "made up"))


def ranked_by_hand(scorer, videos):
    """MAP over rated segments: each class's rated segments by falling code, earlier ones first among equals."""
    rated = [
        (video, start, label, score)
        for video in videos
        for start, label, score in zip(
            video.ratings.starts.tolist(), video.ratings.labels.tolist(), video.ratings.scores.tolist(), strict=True
        )
    ]
    codes = {
        segment_id(video.id, 5 * number): row
        for video in videos
        for number, row in enumerate(np.concatenate(list(scorer.codes([video.frames]))))
    }
    ranked = {}
    for column, label in enumerate(LABELS):
        ids = [segment_id(video.id, start) for video, start, other, _ in rated if other == label]
        ranked[label] = sorted(ids, key=lambda segment: -int(codes[segment][column]))
    ratings = SegmentRatings((segment_id(video.id, start), label, score) for video, start, label, score in rated)
    return segment_map(ratings, ranked).mean


def test_every_model_has_its_rated_map_with_protocol_and_split(packed):
    graphs = Bundle.open(packed.directory).manifest.graphs
    assert [graph.precision for graph in graphs] == ["float32", "int8", "float16"]
    for graph in graphs:
        (metric,) = graph.metrics
        assert (metric.name, metric.protocol, metric.split) == (RATED_MAP, RATED_PROTOCOL, "made up")
        assert 0 < metric.value < 1


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_rated_map_is_what_ranking_by_hand_gives(packed, videos, precision):
    bundle = Bundle.open(packed.directory)
    with OnnxScorer(bundle, precision=precision) as scorer:
        assert bundle.graph(precision).metrics[0].value == pytest.approx(ranked_by_hand(scorer, videos), abs=2e-3)


def test_show_tells_what_each_model_is_worth(packed):
    full, *_ = described(Bundle.open(packed.directory))["graphs"]
    assert full["metrics"][0]["name"] == RATED_MAP


def test_a_graph_of_windows_is_rated_too(tmp_path, shards):
    network = NetworkConfig(aggregation=LSTMConfig(cells=4, layers=1), head=LogisticConfig())
    (graph,) = packed_network(tmp_path, network, rated=RatedShards(shards, "made up")).graphs
    assert 0 < graph.metrics[0].value < 1


def test_ratings_of_other_classes_and_of_no_segment_are_left_out_and_told(tmp_path, capsys):
    videos = rated_videos(10, labels=[*LABELS, 77])
    files = write_shards(tmp_path / "s", videos, spec=FEATURES)
    outside = sum(int((video.ratings.labels == 77).sum()) for video in videos)
    checkpoint = checkpoint_of(tmp_path / "c")
    pack(checkpoint, tmp_path, "tiny", 1, rated=RatedShards(files, "made up"))
    assert f"{outside} ratings are of other classes" in capsys.readouterr().err


def test_shards_without_a_positive_rating_are_an_error(tmp_path):
    videos = rated_videos(3)
    for video in videos:
        video.ratings.scores[:] = 0
    files = write_shards(tmp_path / "s", videos, spec=FEATURES)
    with pytest.raises(DataError, match="no class with a positive rating"):
        pack(checkpoint_of(tmp_path / "c"), tmp_path / "b", "tiny", 1, rated=RatedShards(files, "made up"))
    assert not (tmp_path / "b").exists()


def test_the_command_takes_rated_shards_and_prints_what_they_say(tmp_path, shards):
    app = typer.Typer()
    app.command()(export)
    checkpoint = checkpoint_of(tmp_path / "c").directory
    pattern = shards[0].parent / "library*.tfrecord"
    done = CliRunner().invoke(app, [str(word) for word in (checkpoint, "--out", tmp_path / "b", "--rated", pattern)])
    assert done.exit_code == 0, done.output
    graphs = json.loads(done.stdout)["graphs"]
    assert 0 < graphs["model.int8.onnx"][RATED_MAP] < 1
    (metric,) = Bundle.open(tmp_path / "b/tiny").graph("int8").metrics
    assert metric == Metric(RATED_MAP, graphs["model.int8.onnx"][RATED_MAP], RATED_PROTOCOL, "library*.tfrecord")
