"""A generation of averaged score matrices: what it ranks, what it says of itself, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from segsearch.core.errors import ConfigError, MatrixRefused, VocabularyMismatch
from segsearch.core.score_codes import LOGITS, encode_logits, encode_probabilities
from segsearch.core.score_matrix import About, VideoScores, write_score_matrix
from segsearch.core.segments import segment_starts
from segsearch.core.vocabulary import Entry, Vocabulary
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.manifest import BlendPart
from segsearch.service.index.selection import select_plain
from segsearch.service.index.verification import verify_order
from segsearch.service.jobs.from_matrices import Mean, index_matrices, vocabulary_of

VOCABULARY = Vocabulary(Entry(label, f"class {label}") for label in (4, 0, 9))
ABOUT = About(
    run="trial", stage="final", checkpoint="a" * 64, fold=None, vocabulary_digest=VOCABULARY.digest,
    feature_space="youtube8m/audio128/-2..2", context_frames=5, shift=0, shards=("test00.tfrecord",),
    trained_on=("validate00.tfrecord",),
)  # fmt: skip
FRAMES = {"aaaa": 12, "none": 0, "bbbb": 3, "cccc": 27}


@pytest.fixture
def matrices(tmp_path):
    """Three matrices over the same eight segments."""
    return [written(tmp_path / f"{seed}.npz", seed) for seed in range(3)]


def written(path, seed, about=ABOUT, frames=FRAMES):
    """A matrix of chance, whose codes reach both ends."""
    random = np.random.default_rng(seed)
    videos = []
    for video_id, frame_count in frames.items():
        starts = segment_starts(frame_count) if frame_count else np.empty(0, np.int64)
        videos.append(VideoScores(video_id, starts, random.integers(0, 1 << 16, (len(starts), 3), np.uint16)))
    write_score_matrix(path, replace(about, checkpoint=str(seed) * 64), VOCABULARY, videos)
    return path


def codes_of(path):
    with np.load(path) as arrays:
        return arrays["codes"]


def index_of(tmp_path, mean, **options):
    directory = IndexDirectory(tmp_path / "index")
    index_matrices(mean, VOCABULARY, directory, **{"keep": 5, **options})
    return directory.open_current()


@pytest.mark.parametrize("way", ["probability", "logit"])
def test_the_best_of_the_weighted_mean_are_kept(tmp_path, matrices, way):
    logits = np.average([LOGITS[codes_of(path)].astype(float) for path in matrices], axis=0, weights=(2, 1, 0.5))
    chances = [1 / (1 + np.exp(-LOGITS[codes_of(path)].astype(float))) for path in matrices]
    mean = encode_probabilities(np.average(chances, axis=0, weights=(2, 1, 0.5)))
    wanted = select_plain(encode_logits(logits) if way == "logit" else mean, 5)
    generation = index_of(tmp_path, Mean.of(matrices, (2, 1, 0.5), way))
    verify_order(generation)
    for row, (ordinals, codes) in enumerate(wanted):
        found, found_codes = generation.postings(row, 5)
        np.testing.assert_array_equal(found, ordinals)
        np.testing.assert_allclose(found_codes.astype(int), codes.astype(int), atol=1)


def test_one_matrix_is_indexed_to_the_bit_and_its_scores_kept(tmp_path, matrices):
    generation = index_of(tmp_path, Mean.of(matrices[:1]), scores=True)
    np.testing.assert_array_equal(generation.scores, codes_of(matrices[0]))
    for row, (ordinals, codes) in enumerate(select_plain(codes_of(matrices[0]), 5)):
        np.testing.assert_array_equal(np.stack(generation.postings(row, 5)), np.stack([ordinals, codes]))


def test_a_matrix_without_weight_is_no_part(matrices):
    mean = Mean.of(matrices, (0, 1, 0))
    np.testing.assert_array_equal(np.concatenate(list(mean.blocks())), codes_of(matrices[1]))


def test_probabilities_near_one_stay_apart(tmp_path):
    path = tmp_path / "sure.npz"
    codes = np.array([[60_000], [60_001], [64_000]], np.uint16)  # logits of 26 to 31: 1.0 in float32
    vocabulary = Vocabulary([Entry(4, "class 4")])
    about = replace(ABOUT, vocabulary_digest=vocabulary.digest)
    write_score_matrix(path, about, vocabulary, [VideoScores("aaaa", np.array([0, 5, 10]), codes)])
    (block,) = Mean.of([path, path]).blocks()
    assert np.diff(block[:, 0].astype(int)).min() >= 0
    assert block[2, 0] > block[0, 0]


def test_selections_and_threads_change_nothing(tmp_path, matrices):
    plain = index_of(tmp_path / "a", Mean.of(matrices), selection="numpy")
    compiled = index_of(tmp_path / "b", Mean.of(matrices), selection="numba", threads=2)
    np.testing.assert_array_equal(plain.ordinals, compiled.ordinals)
    np.testing.assert_array_equal(plain.codes, compiled.codes)


def test_segments_keep_their_names(tmp_path, matrices):
    generation = index_of(tmp_path, Mean.of(matrices))
    ids, starts = generation.segments(np.arange(generation.manifest.segment_count))
    named = [(video, start) for video, count in FRAMES.items() if count for start in segment_starts(count).tolist()]
    assert list(zip(ids, starts.tolist(), strict=True)) == named
    assert generation.manifest.video_count == 3


def test_the_manifest_says_what_a_generation_is_the_mean_of(tmp_path, matrices):
    generation = index_of(tmp_path, Mean.of(matrices[:2], (3, 1)), name="both")
    blend = generation.manifest.blend
    assert (blend.way, generation.manifest.bundle.name) == ("probability", "both")
    assert blend.parts == (BlendPart("0.npz", "0" * 64, 0.75), BlendPart("1.npz", "1" * 64, 0.25))


def test_another_mean_has_another_digest(tmp_path, matrices):
    digests = {
        index_of(tmp_path, Mean.of(matrices[:2], weights)).manifest.bundle.digest for weights in ((1, 1), (1, 2))
    }
    assert len(digests) == 2


@pytest.mark.parametrize("weights", [(1,), (1, -1, 1), (0, 0, 0), (1, float("nan"), 1)])
def test_weights_that_do_not_go_with_the_matrices_are_refused(matrices, weights):
    with pytest.raises(ConfigError, match="weights is"):
        Mean.of(matrices, weights)


@pytest.mark.parametrize(
    ("changed", "told"),
    [({"frames": {**FRAMES, "cccc": 30}}, None), ({"frames": {"aaaa": 12, "bbbb": 3}}, "another segment table"),
     ({"about": replace(ABOUT, feature_space="other")}, "feature_space other"),
     ({"about": replace(ABOUT, vocabulary_digest="0" * 64)}, "vocabulary_digest 000")],
)  # fmt: skip
def test_only_matrices_of_the_same_segments_and_classes_are_averaged(tmp_path, matrices, changed, told):
    other = written(tmp_path / "other.npz", 7, **changed)
    if told is None:  # 27 frames and 30 are six segments both
        assert len(Mean.of([matrices[0], other]).matrices) == 2
        return
    with pytest.raises(MatrixRefused, match=told):
        Mean.of([matrices[0], other])


def test_a_matrix_without_some_segments_of_a_video_is_refused(tmp_path):
    path = tmp_path / "gaps.npz"
    write_score_matrix(path, ABOUT, VOCABULARY, [VideoScores("a", np.array([0, 10]), np.zeros((2, 3), np.uint16))])
    with pytest.raises(MatrixRefused, match="row 1: a segment at 10 of video 0"):
        Mean.of([path])


def test_a_matrix_without_segments_is_refused(tmp_path):
    with pytest.raises(MatrixRefused, match="no segment"):
        Mean.of([written(tmp_path / "empty.npz", 0, frames={})])


def test_names_come_from_a_larger_vocabulary_but_not_from_a_different_one(matrices):
    matrix = Mean.of(matrices).matrices[0]
    larger = Vocabulary([*VOCABULARY.entries[::-1], Entry(77, "class 77")])
    assert vocabulary_of(matrix, larger, "larger.csv").entries == VOCABULARY.entries
    for other in (Vocabulary([Entry(4, "class 4")]), Vocabulary(Entry(label, "other") for label in (4, 0, 9))):
        with pytest.raises(VocabularyMismatch, match=r"other\.csv"):
            vocabulary_of(matrix, other, "other.csv")


def test_a_network_that_learned_from_the_shards_is_told_of(tmp_path, capsys):
    path = written(tmp_path / "seen.npz", 0, replace(ABOUT, trained_on=ABOUT.shards))
    index_of(tmp_path, Mean.of([path]))
    assert f"{path}: its network learned from ratings of these shards" in capsys.readouterr().err


def test_the_command_publishes_and_the_next_call_needs_no_vocabulary(command_line, tmp_path, matrices):
    (tmp_path / "vocabulary.csv").write_text(VOCABULARY.to_csv())
    index, csv = tmp_path / "index", tmp_path / "vocabulary.csv"
    first = command_line("index", "from-matrices", index, *matrices, "--vocabulary", csv, "--weights", "2,1,1")
    assert (first[0], json.loads(first[1][-1])["weights"]) == (0, [0.5, 0.25, 0.25])
    code, lines, _ = command_line("index", "from-matrices", index, matrices[0], "--way", "logit", "--scores")
    assert (code, json.loads(lines[-1])["generation"]) == (0, 2)
    assert command_line("index", "verify", index)[0] == 0


def test_weights_that_are_no_numbers_are_misuse(command_line, tmp_path, matrices):
    assert command_line("index", "from-matrices", tmp_path / "index", *matrices, "--weights", "a,b,c")[0] == 2


def test_a_first_index_needs_names(tmp_path, command_line, matrices):
    code, _, told = command_line("index", "from-matrices", tmp_path / "index", *matrices)
    assert code == 2
    assert "give --vocabulary" in told
