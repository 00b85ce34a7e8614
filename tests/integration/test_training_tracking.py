"""MLflow: nothing of it without a server, all of the journal with one, and no training lost to a bad one."""

import pytest

from segsearch.training.config import StageConfig
from segsearch.training.errors import TrainingDiverged
from segsearch.training.journal import Journal
from segsearch.training.tracking import RUN_ID, Tracking


def test_without_a_server_nothing_is_tracked(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert not Tracking.wanted()


def test_a_server_that_cannot_be_used_costs_a_line_and_no_training(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "no-such-scheme://server")
    with _journal(tmp_path, 0) as journal:
        journal.write(1, loss=0.5)
    assert "training goes on without it" in capfd.readouterr().err
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "loss": 0.5}\n'


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A client of the server, here a folder, that trainings of this test tell their numbers."""
    mlflow = pytest.importorskip("mlflow", reason="optional: pip install mlflow-skinny")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "server").as_uri())
    return mlflow.MlflowClient()


@pytest.mark.slow
def test_a_stage_is_one_run_with_its_settings_and_every_number_also_when_it_goes_on(server, tmp_path):
    for step, loss in ((1, 0.5), (2, 0.25)):
        with _journal(tmp_path, step - 1) as journal:
            journal.write(step, loss=loss)
    run = server.get_run((tmp_path / RUN_ID).read_text())
    assert run.info.status == "FINISHED"
    assert run.data.params["average.decay"] == "0.9995"
    assert [(metric.step, metric.value) for metric in server.get_metric_history(run.info.run_id, "loss")] == [
        (1, 0.5),
        (2, 0.25),
    ]


@pytest.mark.slow
def test_a_training_that_stops_with_an_error_is_a_failed_run_until_it_goes_on(server, tmp_path):
    with pytest.raises(TrainingDiverged):
        _diverge(tmp_path)
    run_id = (tmp_path / RUN_ID).read_text()
    assert server.get_run(run_id).info.status == "FAILED"
    with _journal(tmp_path, 1):
        assert server.get_run(run_id).info.status == "RUNNING"
    assert server.get_run(run_id).info.status == "FINISHED"


def _diverge(directory):
    with _journal(directory, 0) as journal:
        journal.write(1, loss=0.5)
        raise TrainingDiverged("stage1", 2, "loss", float("nan"))


def _journal(directory, step):
    return Journal(directory, step, tracking=Tracking("trial/stage1", directory, StageConfig()))
