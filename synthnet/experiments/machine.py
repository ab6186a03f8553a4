"""What machine, and which version of the code, a figure came from."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import numba
import torch

from synthnet.generation.compiled import available_cores


def machine() -> dict[str, Any]:
    """Processor, cores, GPU, load and versions, as plain values."""
    return {
        "processor": processor(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "cores": available_cores(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
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


@functools.cache
def commit() -> str | None:
    """The git commit of a clone's code, with "+" where files differ from it; None for an installed package.

    As it was when first asked: a clone may be updated under a running program, whose code is still the old.
    """
    home = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(home), *arguments], capture_output=True, text=True, check=True).stdout

    try:
        if not git("ls-files", "synthnet/__init__.py"):
            return None  # installed below somebody else's repository
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "synthnet").strip()
        return git("rev-parse", "--short=12", "HEAD").strip() + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def machine_line(about: dict[str, Any]) -> str:
    """One line for above a table."""
    return (
        f"{about['processor']}, {about['vectors']}, {about['cores']} cores, "
        f"{about['gpu'] or 'no GPU'}, load {about['load']}; "
        f"Python {about['python']}, PyTorch {about['torch']}, numba {about['numba']}"
    )
