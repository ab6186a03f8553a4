"""A device that is not here: work on tensors without values shows what would break or stall a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ELSEWHERE = torch.device("meta")
READ_BACK = ("local_scalar", "nonzero", "masked_select", "equal.default", "unique")  # each waits for the device


class OnOneDevice(TorchDispatchMode):
    """Within it, an operation that reads a value back, or works on tensors of two devices, is an AssertionError."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: set[str] = set()

    def __torch_dispatch__(
        self, function: Callable[..., Any], types: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        name, named = str(function), named or {}
        self.calls.add(name)
        assert not any(word in name for word in READ_BACK), f"{name} waits for the device"
        result = function(*arguments, **named)
        tensors = [leaf for leaf in tree_leaves((arguments, named, result)) if isinstance(leaf, Tensor)]
        devices = {tensor.device.type for tensor in tensors}
        assert len(devices) < 2, f"{name} works on {' and '.join(sorted(devices))}"
        return result
