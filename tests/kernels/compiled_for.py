"""Compiles Triton's kernels for a card that need not be here, and prints as JSON what its compiler made of them.

python tests/kernels/compiled_for.py 90      # compute capability 9.0, an H100
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from synthnet.kernels import fused

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
SIZES = (("fp16", 512, 2), ("bf16", 256, 3), ("fp32", 512, 2), ("fp16", 24, 3))  # type, channels, filter width
SINGLE, NUMBERS = ("taps", "bias", "sums"), ("n", "n_inputs", "dilation")


def compiled(kernel: Any, capability: int, kind: str, channels: int, width: int) -> Any:
    """The kernel with its usual tiles, all arrays aligned to 16 bytes as torch's are."""
    samples, most, warps = fused.TILES[kernel.__name__]
    sizes = {"C": channels, "F": width, "BT": samples, "BC": min(most, triton.next_power_of_2(channels))}
    types, places, attributes = {}, {}, {}
    for number, name in enumerate(kernel.arg_names):
        places[name] = (number,)
        if name in sizes:
            types[name] = "constexpr"
        elif name in NUMBERS:
            types[name] = "i32"
        else:
            types[name] = "*fp32" if name in SINGLE else f"*{kind}"
            attributes[places[name]] = [["tt.divisibility", 16]]
    constants = {places[name]: size for name, size in sizes.items()}
    source = ASTSource(kernel, types, constexprs=constants, attrs=attributes)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps})


def shown(tool: str, *arguments: str) -> str:
    """What one of CUDA's tools prints."""
    command = [str(TOOLS / tool), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def usage(binary: bytes) -> dict[str, int]:
    """Bytes of a thread's stack, where spilled registers go, and of its widest load and store."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        resources, code = shown("cuobjdump", "-res-usage", file.name), shown("nvdisasm", "-c", file.name)
    stack = re.search(r"STACK:(\d+)", resources)
    assert stack is not None, resources
    widest = {
        name: max(int(bits or 32) // 8 for bits in re.findall(rf"{code_name}\.E(?:\.(64|128))?\b", code))
        for name, code_name in (("load", "LDG"), ("store", "STG"))
    }
    return {"stack": int(stack[1]), **widest}


def main(capability: int) -> None:
    found = []
    for kernel in (fused.gate, fused.gate_gradient, fused.input_gradient, fused.step):
        numbers = [parameter for parameter in kernel.params if parameter.name in NUMBERS]
        assert all(parameter.do_not_specialize for parameter in numbers), "it is compiled for every layer anew"
        for kind, channels, width in SIZES:
            if kernel is fused.step and kind != "fp32":  # of generation
                continue
            made = compiled(kernel, capability, kind, channels, width)
            sizes = {"kernel": kernel.__name__, "type": kind, "channels": channels, "width": width}
            found.append({**sizes, "shared": made.metadata.shared, **usage(made.asm["cubin"])})
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]))
