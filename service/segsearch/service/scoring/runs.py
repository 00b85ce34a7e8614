"""One run of a model: arrays in, arrays out. How they come to where the model runs is for the implementations.

Where it stands: `session` picks one by what really runs the model. On the processor arrays are used where they lie;
`device_runs` moves them to a device and back.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np

# Which of ONNX Runtime's exceptions say that it could not run what it was rightly given. Not InvalidArgument: that is a
# bug, of ours or of the model, and another try would end the same.
_FAILURES: Final = ("Fail", "RuntimeException", "EPFail", "EngineError", "DeviceReset")


def is_failure(error: Exception) -> bool:
    """Whether a run raised this for want of memory, or as a device or its driver failed.

    Memory that is bound, and runs with it, raise plain RuntimeErrors, whatever it was.
    """
    kind = type(error)
    named = kind.__module__.startswith("onnxruntime.") and kind.__name__ in _FAILURES
    return named or kind is RuntimeError or isinstance(error, MemoryError)


class Runs(Protocol):
    """Safe to call from several threads at a time."""

    def __call__(self, names: Sequence[str], feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs of these names, for these inputs; what no output needs is not computed."""


class PlainRuns:
    """Arrays as they lie in this process's memory."""

    def __init__(self, session: Any, options: Any):
        self._session, self._options = session, options

    def __call__(self, names: Sequence[str], feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        found: list[np.ndarray] = self._session.run(list(names), dict(feed), self._options)
        return found
