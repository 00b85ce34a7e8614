"""Which ONNX Runtime provider to ask for, and what to call the one that really runs.

Being built in says nothing: the GPU wheel lists providers on a machine without a driver, and asking in vain costs
seconds. So a provider is asked for only where its libraries load, and believed only when a session names it.
"""

import contextlib
import ctypes
import sys
from typing import Any, Final, Literal

from segsearch.core.errors import ConfigError

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"

ProviderChoice = Literal["auto", "cpu", "cuda", "tensorrt"]

# What each choice is to run on. `auto` leaves TensorRT out: it builds an engine first, which takes minutes.
_DEMANDED: Final = {"cuda": CUDA, "tensorrt": TENSORRT}
_LIBRARIES: Final = {
    CUDA: ("libcuda.so.1",),
    TENSORRT: ("libcuda.so.1", "libnvinfer.so.10", "libnvonnxparser.so.10"),
}
# A float32 model must reproduce its scores in float32; CUDA would round its products to 11 bits otherwise.
_OPTIONS: Final[dict[str, dict[str, str]]] = {CUDA: {"use_tf32": "0"}}
_DEVICES: Final = {CUDA: "cuda", TENSORRT: "cuda"}


def wanted_providers(runtime: Any, choice: ProviderChoice) -> list[list[str]]:
    """Lists of providers to make a session with, the best first: the next one is for where that fails.

    runtime: the onnxruntime module. Raises ConfigError if one was demanded that cannot be had.
    """
    demanded = _DEMANDED.get(choice)
    if demanded is None:
        return [[CUDA, CPU], [CPU]] if choice == "auto" and not _missing(runtime, CUDA) else [[CPU]]
    if missing := _missing(runtime, demanded):
        raise ConfigError("provider", choice, f"one that can be had here ({missing}), or 'cpu'")
    # What TensorRT cannot do goes to CUDA, what CUDA cannot to the processor.
    return [[TENSORRT, CUDA, CPU] if demanded == TENSORRT else [CUDA, CPU]]


def running_provider(session: Any, choice: ProviderChoice) -> str:
    """The provider a session got, which may be another than it asked for; raises ConfigError if one was demanded."""
    running = str(session.get_providers()[0])
    demanded = _DEMANDED.get(choice)
    if demanded is not None and running != demanded:
        raise ConfigError("provider", choice, f"{demanded} to start; onnxruntime fell back to {running}")
    return running


def device_of(provider: str) -> str | None:
    """The device whose memory this provider works in; None for the processor's."""
    return _DEVICES.get(provider)


def with_options(providers: list[str]) -> list[tuple[str, dict[str, str]]]:
    """The providers as a session takes them."""
    return [(provider, _OPTIONS.get(provider, {})) for provider in providers]


def load_libraries(runtime: Any, providers: list[str]) -> None:
    """Lets ONNX Runtime find CUDA where pip put it."""
    if CUDA in providers:
        with contextlib.redirect_stdout(sys.stderr):  # it prints what it does not find; stdout is for answers
            runtime.preload_dlls()


def _missing(runtime: Any, provider: str) -> str:
    """What this provider lacks here; nothing if it can be asked for."""
    if provider not in runtime.get_available_providers():
        return f"{provider} comes with onnxruntime-gpu"
    absent = [name for name in _LIBRARIES[provider] if not _loads(name)]
    return f"{absent[0]} does not load" if absent else ""


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
