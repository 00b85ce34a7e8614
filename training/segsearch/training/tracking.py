"""MLflow, for those who use it: each number of the journal goes to the server in MLFLOW_TRACKING_URI as well.

Without that variable, or without the package (`pip install mlflow-skinny`), nothing happens. MLFLOW_EXPERIMENT_NAME
says where runs go, "segsearch" unless it is set. A stage is one MLflow run; a training that goes on, goes on in it.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from segsearch.core.files import write_atomically
from segsearch.core.progress import say
from segsearch.training.documents import document_of

RUN_ID = "mlflow_run_id"  # in a stage's directory
EXPERIMENT = "segsearch"


class Tracking:
    """One stage's run at an MLflow server. A server that fails costs a line on stderr, never the training."""

    def __init__(self, name: str, directory: Path, config: Any):
        self._client: Any = None
        with self._forgiven():
            self._open(name, directory, config)

    @classmethod
    def wanted(cls) -> bool:
        return bool(os.environ.get("MLFLOW_TRACKING_URI")) and find_spec("mlflow") is not None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers measured when `step` steps had been taken."""
        if self._client is None:
            return
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        with self._forgiven():
            metrics = [Metric(name, float(value), now, step) for name, value in values.items()]
            self._client.log_batch(self._run_id, metrics=metrics)

    def close(self, failed: bool = False) -> None:
        """Ends the run; what comes after is not sent."""
        if self._client is not None:
            with self._forgiven():
                self._client.set_terminated(self._run_id, "FAILED" if failed else "FINISHED")
        self._client = None

    def _open(self, name: str, directory: Path, config: Any) -> None:
        from mlflow import MlflowClient

        client, kept = MlflowClient(), directory / RUN_ID
        if kept.exists():
            self._run_id = kept.read_text()
            client.update_run(self._run_id, status="RUNNING")
        else:
            wanted = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
            experiment = client.get_experiment_by_name(wanted)
            number = experiment.experiment_id if experiment else client.create_experiment(wanted)
            self._run_id = client.create_run(number, run_name=name).info.run_id
            for field, value in _flat(document_of(config)):
                client.log_param(self._run_id, field, value)
            write_atomically(kept, self._run_id)
        self._client = client

    @contextmanager
    def _forgiven(self) -> Iterator[None]:
        try:
            yield
        # Servers, stores and the net fail in ways of their own; none of them is worth a training.
        except Exception as error:
            say(f"MLflow: {type(error).__name__}: {error}; training goes on without it")
            self._client = None


def _flat(document: Mapping[str, Any], where: str = "") -> list[tuple[str, Any]]:
    """Nested settings as (path.to.field, value) pairs."""
    pairs = []
    for name, value in document.items():
        if isinstance(value, Mapping):
            pairs += _flat(value, f"{where}{name}.")
        else:
            pairs.append((f"{where}{name}", value))
    return pairs
