"""Triton's kernels compiled for cards that are not here: the interpreter accepts what the compiler may not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed")

EVERY_BLOCK_HAS = 48 * 1024  # bytes of shared memory, on any card


@pytest.mark.parametrize("capability", [80, 90])  # A100; H100 and H200
def test_kernels_compile_without_spilled_registers_and_with_wide_loads(capability: int) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("compiled_for.py")), str(capability)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    kernels = json.loads(done.stdout)
    assert len(kernels) == 13
    for made in kernels:
        assert made["stack"] == 0, made
        assert made["shared"] <= EVERY_BLOCK_HAS, made
        if made["channels"] >= 256:
            assert made["load"] == made["store"] == 16, made  # bytes a thread at once, the most there are
