"""Block graphs against the networks they were read off: every window as Keras scores it, each frame worked on once."""

from functools import cache

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segsearch.core.blocks import cut_pieces, lay_out, outer_frames, reach
from segsearch.core.features import FeatureSpec
from segsearch.core.score_codes import encode_probabilities
from segsearch.core.segments import cut_windows, segment_starts, window_bounds
from segsearch.export.block_graph import block_graph
from segsearch.export.branches import Fork
from segsearch.export.calibration import calibrated
from segsearch.export.networks import line_of
from segsearch.export.pooling import INPUTS
from segsearch.export.quantisation import IntegerDense, Quantise
from segsearch.export.steps import Scale
from segsearch.export.vlad import VLADPool
from segsearch.training.aggregations import (
    ContextGatingConfig,
    DBoFConfig,
    FrameMeanConfig,
    GatedDBoFConfig,
    HiddenConfig,
    LogisticConfig,
    LogitMoEConfig,
    MixConfig,
    MoEConfig,
    NetFVConfig,
    NetVLADConfig,
    NeXtVLADConfig,
    ProbabilityGatingConfig,
    SoftDBoFConfig,
    TowerConfig,
)
from segsearch.training.config import NetworkConfig
from segsearch.training.models.network import Network

FEATURES = FeatureSpec.parse("rgb:12,audio:4")
CLASSES = 6
lengths_of_videos = st.lists(st.integers(1, 70), min_size=1, max_size=6)
contexts = st.integers(0, 7)

BIAS, RELU6 = HiddenConfig(units=8), HiddenConfig(units=8, form="batch_norm_relu6")
SQUEEZE = ContextGatingConfig(form="squeeze", reduction=2)
SMALL_BAG = DBoFConfig(clusters=16, hidden=8)
NETWORKS = {
    "max sigmoid moe": (DBoFConfig(clusters=16, hidden=8, activation="sigmoid"), MoEConfig(mixtures=3), "l2"),
    "max relu6 logistic": (DBoFConfig(clusters=16, hidden=8, activation="relu6"), LogisticConfig(), "l2"),
    "mean sigmoid logistic": (DBoFConfig(clusters=16, hidden=8, pooling="mean"), LogisticConfig(), "l2"),
    "mean relu6 moe": (DBoFConfig(clusters=16, hidden=8, pooling="mean", activation="relu6"), MoEConfig(), "none"),
    "max relu6 moe": (DBoFConfig(clusters=16, hidden=8, activation="relu6"), MoEConfig(mixtures=1), "none"),
    "soft dbof": (SoftDBoFConfig(clusters=16, stream_divisor=4, max_pool=True, hidden=BIAS), MoEConfig(), "l2"),
    "gated dbof": (GatedDBoFConfig(clusters=16, stream_divisor=4, hidden=RELU6), LogisticConfig(), "l2"),
    "netvlad": (
        NetVLADConfig(clusters=6, hidden=BIAS, gating=ContextGatingConfig(remove_diagonal=True)),
        MoEConfig(),
        "l2",
    ),
    "netvlad light": (NetVLADConfig(clusters=6, form="light", hidden=RELU6, gating=SQUEEZE), LogisticConfig(), "none"),
    "netvlad gated": (NetVLADConfig(clusters=6, form="gated", hidden=BIAS, gating=None), LogisticConfig(), "l2"),
    "netfv": (NetFVConfig(clusters=6, hidden=BIAS), LogisticConfig(), "l2"),
    "netfv coupled": (NetFVConfig(clusters=4, coupled=True, hidden=RELU6, gating=None), MoEConfig(), "none"),
    "nextvlad": (
        NeXtVLADConfig(clusters=6, groups=4, hidden=HiddenConfig(units=8, form="batch_norm"), gating=SQUEEZE),
        LogisticConfig(),
        "l2",
    ),
    "mix": (
        MixConfig(
            towers=(
                TowerConfig(aggregation=DBoFConfig(clusters=16, hidden=8), head=LogisticConfig()),
                TowerConfig(aggregation=NetVLADConfig(clusters=6, hidden=BIAS), head=MoEConfig()),
            )
        ),
        None,
        "l2",
    ),
    "mix of other heads": (
        MixConfig(
            towers=(
                TowerConfig(aggregation=SMALL_BAG, head=LogitMoEConfig(mixtures=2, shared_gate=True)),
                TowerConfig(aggregation=SMALL_BAG, head=ProbabilityGatingConfig()),
            )
        ),
        None,
        "l2",
    ),
    "logit moe": (SMALL_BAG, LogitMoEConfig(), "l2"),
    "logit moe, one gate": (SMALL_BAG, LogitMoEConfig(mixtures=3, shared_gate=True), "l2"),
    "logit moe, batch norms": (SMALL_BAG, LogitMoEConfig(mixtures=2, batch_norm=True, dropout=0.5), "l2"),
    "logit moe, one gate, batch norms": (SMALL_BAG, LogitMoEConfig(shared_gate=True, batch_norm=True), "none"),
    "gated by scores": (SMALL_BAG, ProbabilityGatingConfig(), "l2"),
    "gated by other scores": (SMALL_BAG, ProbabilityGatingConfig(remove_diagonal=True, head=LogisticConfig()), "l2"),
    "gated by embedding": (SMALL_BAG, ProbabilityGatingConfig(input="embedding", head=LogitMoEConfig()), "l2"),
    "gated by embedding, less own": (SMALL_BAG, ProbabilityGatingConfig(input="embedding", remove_diagonal=True), "l2"),
    "frame mean moe": (FrameMeanConfig(), MoEConfig(), "l2"),
    "frame mean logistic": (FrameMeanConfig(), LogisticConfig(), "none"),
}


@cache
def network_of(name):
    """A network whose every weight is its own: batch norms with negative scales among them."""
    aggregation, head, normalisation = NETWORKS[name]
    if isinstance(aggregation, MixConfig):
        config = NetworkConfig(normalisation=normalisation, mix=aggregation)
    else:
        config = NetworkConfig(normalisation=normalisation, aggregation=aggregation, head=head)
    network = Network(config, FEATURES, CLASSES)
    random = np.random.default_rng(5)
    for weight in network.weights:
        if "variance" in weight.path:
            weight.assign(random.uniform(0.3, 2, weight.shape))
        elif "_bn" in weight.path or "batch_norm" in weight.path or "biases" in weight.path:
            weight.assign(random.normal(0.2, 0.7, weight.shape))
    return network


@cache
def session_of(name, context):
    line = line_of(network_of(name), FEATURES.size, context)
    return onnxruntime.InferenceSession(block_graph(line.folded()).SerializeToString())


def videos_of(lengths):
    random = np.random.default_rng(sum(lengths))
    return [random.integers(0, 256, (length, FEATURES.size), np.uint8) for length in lengths]


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=15)
@given(lengths=lengths_of_videos, context=contexts, limit=st.integers(1, 9))
def test_blocks_score_every_segment_as_keras_scores_its_window(name, lengths, context, limit):
    videos = videos_of(lengths)
    windows = [cut_windows(frames, segment_starts(len(frames)), context) for frames in videos]
    answer = network_of(name)(*(np.concatenate(part) for part in zip(*windows, strict=True)), training=False)
    wanted = [np.asarray(answer[part]) for part in ("scores", "embedding")]
    batch = lay_out([piece for frames in videos for piece in cut_pieces(frames, context, limit)], context)
    scores, embedding, codes = session_of(name, context).run(
        ["scores", "embedding", "codes"], dict(zip(INPUTS, batch, strict=True))
    )
    np.testing.assert_allclose(scores, wanted[0], atol=1e-5)
    np.testing.assert_allclose(embedding, wanted[1], atol=2e-5)
    inside = (wanted[0] > 1e-3) & (wanted[0] < 1 - 1e-3)  # beyond, 1e-5 of a probability is more than one code
    expected = encode_probabilities(np.clip(wanted[0], 0, 1)).astype(int)
    assert np.abs(codes - expected)[inside].max(initial=0) <= 1


@pytest.mark.parametrize("name", [name for name in NETWORKS if "frame mean" not in name])
@pytest.mark.parametrize("context", [0, 5, 7])
def test_half_floats_score_nearly_alike_and_say_what_they_cost(name, context):
    videos = videos_of([1, 7, 23, 61])
    batch = lay_out([piece for frames in videos for piece in cut_pieces(frames, context, 9)], context)
    feed = dict(zip(INPUTS, batch, strict=True))
    line = line_of(network_of(name), FEATURES.size, context)
    wanted = session_of(name, context).run(["scores"], feed)[0]
    costs = []
    for halved in (line.halved(), line.halved(imitated=True)):
        session = onnxruntime.InferenceSession(block_graph(halved).SerializeToString())
        scores, sound = session.run(["scores", "sound"], feed)
        assert sound.all()
        costs.append(np.abs(scores - wanted).max())
    assert 0 < costs[1] < 0.01
    assert costs[0] < 0.01


@pytest.mark.parametrize("name", [name for name in NETWORKS if "frame mean" not in name])
@pytest.mark.parametrize("context", [0, 5, 7])
def test_integers_score_nearly_alike_whatever_is_pooled(name, context):
    videos = videos_of([1, 7, 23, 61])
    batch = lay_out([piece for frames in videos for piece in cut_pieces(frames, context, 9)], context)
    feed = dict(zip(INPUTS, batch, strict=True))
    line = calibrated(line_of(network_of(name), FEATURES.size, context).folded(), videos_of([40, 50]))
    model = block_graph(line.quantised())
    scores, sound = onnxruntime.InferenceSession(model.SerializeToString()).run(["scores", "sound"], feed)
    assert sound.all()
    assert 0 < np.abs(scores - session_of(name, context).run(["scores"], feed)[0]).max() < 0.1


@pytest.mark.parametrize("name", ["netvlad", "netvlad light", "netfv", "nextvlad", "soft dbof"])
def test_the_product_behind_descriptors_is_in_integers(name):
    line = line_of(network_of(name), FEATURES.size, 5).folded()
    fork = next(step for step in calibrated(line, videos_of([40, 50])).quantised().body if isinstance(step, Fork))
    assert {type(branch[-1]) for branch in fork.branches} == {Quantise}
    assert {branch[-1].zero for branch in fork.branches} == {128}
    uncalibrated = line.quantised()  # no range is known, and none is made up
    forks = () if uncalibrated is None else [step for step in uncalibrated.body if isinstance(step, Fork)]
    assert not any(isinstance(branch[-1], Quantise) for fork in forks for branch in fork.branches if branch)


def test_a_frame_of_a_nextvlad_meets_one_product_which_is_in_integers():
    line = line_of(network_of("nextvlad"), FEATURES.size, 5).folded()
    fork = calibrated(line, videos_of([40, 50])).quantised().body[0]
    for branch in fork.branches:
        assert [type(step) for step in branch] == [IntegerDense, Scale, VLADPool, Quantise]


@settings(max_examples=200)
@given(lengths=lengths_of_videos, context=st.integers(0, 16), limit=st.integers(1, 9))
def test_the_blocks_of_a_window_hold_exactly_its_frames(lengths, context, limit):
    videos = [np.full((length, 1), number, np.uint8) for number, length in enumerate(lengths)]
    for frames in videos:
        frames[:, 0] = np.arange(len(frames))
    batch = lay_out([piece for frames in videos for piece in cut_pieces(frames, context, limit)], context)
    rows = iter(batch.windows)
    for frames in videos:
        for first, end in zip(*window_bounds(segment_starts(len(frames)), len(frames), context), strict=True):
            assert frames_of_window(batch, next(rows), context) == list(range(first, end))
    assert next(rows, None) is None


def frames_of_window(batch, blocks, context):
    """The values of a window's real frames, block by block."""
    found, outer = [], outer_frames(context)
    for place, block in enumerate(blocks):
        if block >= 0:
            real = batch.frames[5 * block : 5 * block + batch.block_frames[block], 0].tolist()
            if outer and place == 0:
                real = real[-outer:]
            elif outer and place == 2 * reach(context):
                real = real[:outer]
            found += real
    return found
