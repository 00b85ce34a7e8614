"""Runs of a model that fail when a test says so, with what ONNX Runtime raises where a device or memory fails."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from segsearch.service.scoring.onnx_scorer import OnnxScorer
from segsearch.service.scoring.runs import Runs

SECRET = "/secret/libcuda"
OUT_OF_MEMORY = f"Failed to allocate memory for requested buffer of size 68719476736 ({SECRET})"
# A device is lost, or has no memory left: as a plain run tells it, as a provider does, as bound memory does.
FAILURES: list[Exception] = [
    runtime.Fail(f"[ONNXRuntimeError] : 1 : FAIL : CUDA failure 999: unknown error ; file={SECRET}"),
    runtime.RuntimeException(f"[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : {OUT_OF_MEMORY}"),
    runtime.EPFail(f"[ONNXRuntimeError] : 11 : EP_FAIL : {SECRET}"),
    runtime.EngineError(f"[ONNXRuntimeError] : {SECRET}"),
    runtime.DeviceReset(f"[ONNXRuntimeError] : {SECRET}"),
    RuntimeError(f"Error in execution: {OUT_OF_MEMORY}"),
    MemoryError(SECRET),
]
# Of ours or of the model: another try would end the same.
BUGS: list[Exception] = [
    TypeError(SECRET),
    AssertionError(SECRET),
    ValueError(SECRET),
    RecursionError(SECRET),
    NotImplementedError(SECRET),
    runtime.InvalidArgument(f"[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Invalid rank for input: {SECRET}"),
]


class FailingRuns:
    """Stands before a session's `Runs`. It lets all runs through until it is told which to fail."""

    def __init__(self, runs: Runs):
        self._runs = runs
        self.made = 0  # runs that were asked for
        self.error: Exception = FAILURES[0]
        self.fails: Callable[[np.ndarray], bool] = lambda _: False  # by the run's frames, uint8

    def __call__(self, names: Sequence[str], feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        self.made += 1
        if self.fails(feed["frames"]):
            raise self.error
        return self._runs(names, feed)

    def fail_next(self, count: int) -> None:
        """The next so many runs fail."""
        last = self.made + count
        self.fails = lambda _: self.made <= last


def failing_runs_of(scorer: OnnxScorer) -> FailingRuns:
    """Puts itself before the runs of a scorer that has one session."""
    session = scorer.model._session
    (runs,) = session._runs
    session._runs = [failing := FailingRuns(runs)]
    return failing


def terminate(scorer: OnnxScorer, *, fails: bool) -> None:
    """Has ONNX Runtime itself fail every run, or none."""
    scorer.model._session._options.terminate = fails
