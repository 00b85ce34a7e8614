"""What a machine is as far as the speed of scoring goes."""

import os
import platform
from pathlib import Path
from typing import Final

_GPUS: Final = Path("/proc/driver/nvidia/gpus")
_PROCESSORS: Final = Path("/proc/cpuinfo")


def core_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The processor's model, as the system names it."""
    named = _values(_PROCESSORS, "model name")[0] if _PROCESSORS.exists() else ""
    return named or platform.processor() or platform.machine()


def accelerators() -> list[str]:
    """Models of the NVIDIA devices, as the driver names them."""
    return [name for file in sorted(_GPUS.glob("*/information")) for name in _values(file, "Model")]


def _values(file: Path, field: str) -> list[str]:
    """Values of the lines `field : value`; a lone empty one where there is none."""
    lines = (line.partition(":") for line in file.read_text(errors="replace").splitlines())
    return [value.strip() for name, _, value in lines if name.strip() == field] or [""]
