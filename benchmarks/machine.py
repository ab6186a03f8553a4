"""What machine a figure came from."""

from __future__ import annotations

import contextlib
import os
import platform
from typing import Any

import numba
import torch

from synthnet.generation.compiled import available_cores


def machine() -> dict[str, Any]:
    """Processor, cores, load and versions, as plain values."""
    return {
        "processor": processor(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "cores": available_cores(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numba": numba.__version__,
    }


def processor() -> str:
    """The processor's name, as far as the system tells."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine_line(about: dict[str, Any]) -> str:
    """One line for above a table."""
    return (
        f"{about['processor']}, {about['vectors']}, {about['cores']} cores, load {about['load']}; "
        f"Python {about['python']}, PyTorch {about['torch']}, numba {about['numba']}"
    )
