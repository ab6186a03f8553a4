"""The machine, and the version of the code, that a figure came from."""

from __future__ import annotations

import dataclasses
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import torch

from synthnet.generation.compiled import available_cores


@dataclass(frozen=True)
class Machine:
    """Processor, vector instructions, usable cores, GPU, load of the last minute, and versions; as text, one line."""

    processor: str
    vectors: str
    cores: int
    gpu: str | None
    load: float | None
    python: str
    torch: str
    numba: str

    def __str__(self) -> str:
        return (
            f"{self.processor}, {self.vectors}, {self.cores} cores, {self.gpu or 'no GPU'}, load {self.load}; "
            f"Python {self.python}, PyTorch {self.torch}, numba {self.numba}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)


def machine() -> Machine:
    """This machine, as it is now."""
    about = Path("/proc/cpuinfo")
    name = re.search(r"^model name\s*: (.+)", about.read_text("utf-8"), re.MULTILINE) if about.exists() else None
    return Machine(
        processor=name[1].strip() if name else platform.processor() or platform.machine(),
        vectors=torch.backends.cpu.get_cpu_capability(),
        cores=available_cores(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        python=platform.python_version(),
        torch=torch.__version__,
        numba=numba.__version__,
    )
