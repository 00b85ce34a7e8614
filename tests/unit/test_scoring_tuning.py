"""The warm-up search: what it tries, what it finds, and what of it is remembered."""

import dataclasses
import json

import numpy as np
import pytest

from segsearch.core.bundle import Bundle
from segsearch.core.errors import ConfigError
from segsearch.service.scoring import machine, tuning_file
from segsearch.service.scoring.model import open_model
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from segsearch.service.scoring.trials import Trials
from segsearch.service.scoring.tuning import MEMORY_BYTES, Best, Tuning, batches, candidates, search
from tests.library_fixtures import make_videos
from tests.tiny_blocks import tiny_line, write_block_bundle

FOUND = Best(Tuning(batch=17, runs=2, threads=1, sessions=2), 123.0)


def rate(best):
    """A machine on which this tuning is the fastest, and others are slower by how far they are off."""

    def measure(tuning):
        pairs = zip(dataclasses.astuple(tuning), dataclasses.astuple(best), strict=True)
        return 1000 / (1 + sum(abs(np.log2(mine / theirs)) for mine, theirs in pairs))

    return measure


@pytest.mark.parametrize(
    "best",
    [
        Tuning(32, 8), Tuning(256, 8), Tuning(16, 8, sessions=8), Tuning(64, 4, threads=2), Tuning(128, 1, threads=8),
    ],
    ids=str,
)  # fmt: skip
def test_the_fastest_tuning_is_found(best):
    tried = candidates(8, 0, 1, on_device=False)
    assert search(tried, batches(on_device=False), rate(best)).tuning == best


def test_many_threads_in_one_run_and_many_sessions_are_both_tried():
    tried = candidates(8, 0, 1, on_device=False)
    assert {(t.runs, t.threads, t.sessions) for t in tried} == {
        (8, 1, 1), (8, 1, 8), (4, 2, 1), (2, 4, 1), (1, 8, 1),
    }  # fmt: skip
    assert {(t.runs, t.threads, t.sessions) for t in candidates(1, 0, 1, on_device=False)} == {(1, 1, 1)}


def test_models_that_would_fill_the_memory_are_not_opened_once_a_core():
    tried = candidates(8, 0, MEMORY_BYTES // 7, on_device=False)
    assert {tuning.sessions for tuning in tried} == {1}


@pytest.mark.parametrize("on_device", [True, False])
def test_the_runs_that_were_asked_for_are_kept(on_device):
    assert {tuning.runs for tuning in candidates(8, 3, 1, on_device=on_device)} == {3}


def test_a_gain_within_the_noise_changes_nothing():
    assert search([Tuning(32, 2), Tuning(32, 1, 2)], [64], lambda tuning: 100 + tuning.batch / 20).tuning == Tuning(
        32, 2
    )


def test_a_plain_tuning_that_was_only_disturbed_gets_a_second_chance():
    times = {}

    def measure(tuning):
        times[tuning] = times.get(tuning, 0) + 1
        return 10.0 if tuning == Tuning(32, 2) and times[tuning] == 1 else 100.0

    assert search([Tuning(32, 2), Tuning(32, 1, 2)], [64], measure).tuning == Tuning(32, 2)


def test_a_search_out_of_time_keeps_what_it_has():
    seconds = iter([0.0, 1.0, 9.0, 9.0, 9.0])
    tried = [Tuning(32, 4), Tuning(32, 2, 2), Tuning(32, 1, 4)]
    found = search(tried, [64], lambda tuning: float(tuning.threads), budget_s=8, clock=lambda: next(seconds))
    assert found.tuning == Tuning(32, 2, 2)


def test_a_trial_counts_segments_and_opens_a_model_only_for_another_layout(tiny_bundle):
    opened = []

    def reopen(tuning):
        opened.append(tuning)
        return open_model(tiny_bundle, tiny_bundle.graph(), "cpu", threads=tuning.threads, sessions=tuning.sessions)

    plain = Tuning(32, 2)
    measure = Trials(reopen(plain), plain, reopen, tiny_bundle.manifest.features.size)
    assert min(measure(tuning) for tuning in (plain, Tuning(64, 2), Tuning(64, 1))) > 0
    assert opened == [plain]
    assert measure(Tuning(32, 1, threads=2)) > 0
    assert len(opened) == 2


@pytest.fixture
def facts(tiny_bundle):
    return tuning_file.facts_of(tiny_bundle, "float32", "CPUExecutionProvider", 0)


def test_what_was_found_is_remembered(tmp_path, facts):
    assert tuning_file.recall(tmp_path, facts) is None
    tuning_file.remember(tmp_path / "new", facts, FOUND)
    assert tuning_file.recall(tmp_path / "new", facts) == FOUND.tuning
    assert [file.suffix for file in (tmp_path / "new").iterdir()] == [".json"]


@pytest.mark.parametrize(
    "change", [{"bundle": "f" * 64}, {"precision": "int8"}, {"provider": "x"}, {"cores": 99}, {"processor": "x"}]
)
def test_another_model_or_machine_has_a_tuning_of_its_own(tmp_path, facts, change):
    tuning_file.remember(tmp_path, facts, FOUND)
    assert tuning_file.recall(tmp_path, {**facts, **change}) is None


def edited(**changes):
    return lambda document: json.dumps({**document, **changes})


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda document: json.dumps(document)[:40], "Unterminated string|Expecting"),
        (lambda _: "[" * 100_000, "is ignored"),
        (lambda _: "[]", "no object of format version 1"),
        (lambda _: "\x00", "is ignored"),
        (edited(format_version=2), "no object of format version 1"),
        (edited(facts={}), "of another model or machine"),
        (edited(tuning={"batch": 32, "runs": 2, "threads": 1, "sessions": "2"}), "wanted whole numbers"),
        (edited(tuning={"batch": 32, "runs": True, "threads": 1, "sessions": 2}), "wanted whole numbers"),
        (edited(tuning={"batch": 32, "runs": 10**9, "threads": 1, "sessions": 1}), "runs is 1000000000"),
        (edited(tuning={"batch": 0, "runs": 1, "threads": 1, "sessions": 1}), "batch is 0"),
        (edited(tuning={"batch": 32}), "is ignored"),
        (edited(tuning=7), "wanted whole numbers"),
    ],
)
def test_a_damaged_file_is_ignored_and_the_reason_told(tmp_path, facts, damage, reason, capsys):
    tuning_file.remember(tmp_path, facts, FOUND)
    (file,) = tmp_path.iterdir()
    file.write_text(damage(json.loads(file.read_text())))
    assert tuning_file.recall(tmp_path, facts) is None
    told = capsys.readouterr().err
    assert f"{file} is ignored" in told
    assert any(word in told for word in reason.split("|"))


def test_a_cache_that_is_no_folder_is_told_and_nothing_more(tmp_path, facts, capsys):
    (tmp_path / "file").write_text("")
    tuning_file.remember(tmp_path / "file", facts, FOUND)
    assert "the tuning is not remembered" in capsys.readouterr().err


def test_a_scorer_without_a_batch_searches_once_and_then_recalls(tmp_path, tiny_bundle, capsys):
    with OnnxScorer(tiny_bundle, batch=0, threads=2, cache=tmp_path) as scorer:
        first = scorer.tuning
    assert "tuned to this machine" in capsys.readouterr().err
    assert first.runs == 2
    (file,) = tmp_path.iterdir()
    document = json.loads(file.read_text())
    document["tuning"] = dataclasses.asdict(FOUND.tuning)
    file.write_text(json.dumps(document))
    with OnnxScorer(tiny_bundle, batch=0, threads=2, cache=tmp_path) as scorer:
        assert scorer.tuning == FOUND.tuning
    assert "tuned" not in capsys.readouterr().err


@pytest.mark.parametrize("tuning", [Tuning(5, 3, threads=2), Tuning(64, 2, sessions=2), Tuning(300, 1)], ids=str)
def test_scores_are_the_same_however_a_model_is_run(tmp_path, tuning):
    bundle = Bundle.open(write_block_bundle(tmp_path / "bundles", tiny_line()))
    provider = "CPUExecutionProvider"
    tuning_file.remember(tmp_path, tuning_file.facts_of(bundle, "float32", provider, 0), Best(tuning, 1.0))
    videos = [video.frames for video in make_videos(12, seed=2)]
    with OnnxScorer(bundle, batch=0, cache=tmp_path, provider="cpu") as tuned, OnnxScorer(bundle, batch=8) as plain:
        assert tuned.tuning == tuning
        codes, wanted = (np.concatenate(list(scorer.codes(videos))) for scorer in (tuned, plain))
        assert np.abs(codes.astype(int) - wanted).max() <= 1
        long = np.tile(videos[0], (9, 1))
        np.testing.assert_allclose(tuned.score(long).probabilities, plain.score(long).probabilities, atol=1e-5)


def test_a_tuning_that_cannot_be_is_named():
    with pytest.raises(ConfigError, match="threads is 0"):
        Tuning(32, 2, threads=0)


def test_the_machine_has_a_name_and_a_core():
    assert machine.processor()
    assert machine.core_count() >= 1
    assert isinstance(machine.accelerators(), list)
