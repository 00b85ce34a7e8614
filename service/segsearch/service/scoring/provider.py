"""Which ONNX Runtime provider to ask for, and what to call the one that really runs."""

import ctypes
from typing import Any, Literal

from segsearch.core.errors import ConfigError

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

ProviderChoice = Literal["auto", "cpu", "cuda"]


def wanted_providers(runtime: Any, choice: ProviderChoice) -> list[str]:
    """Providers in order of preference. CUDA is asked for only where a driver loads: asking in vain costs seconds.

    runtime: the onnxruntime module. Raises ConfigError if CUDA was demanded and cannot be had.
    """
    possible = CUDA in runtime.get_available_providers() and _driver_loads()
    if choice == "cuda" and not possible:
        raise ConfigError("provider", choice, "a CUDA driver (libcuda.so.1) and onnxruntime-gpu, or 'cpu'")
    return [CUDA, CPU] if possible and choice != "cpu" else [CPU]


def running_provider(session: Any, choice: ProviderChoice) -> str:
    """The provider a session got, which may be another than it asked for; raises ConfigError if CUDA was demanded."""
    running = str(session.get_providers()[0])
    if choice == "cuda" and running != CUDA:
        raise ConfigError("provider", choice, f"CUDA to start; onnxruntime fell back to {running}")
    return running


def _driver_loads() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
