"""SynthNet: neural instruments. Learn an instrument from minutes of music, then play any score.

>>> import synthnet
>>> trumpet = synthnet.load("trumpet")
>>> trumpet.play("song.mid").save("song.wav")                       # doctest: +SKIP
>>> synthnet.render("song.mid", "band.wav", instrument="0=cello")   # doctest: +SKIP

`synthnet.api` documents the functions. Torch, numba and the rest are loaded on first use.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synthnet.api import Instrument, load, read_score, render

# Waiting threads of torch and numba must not spin: on a busy machine a training step would take ten times as long, a
# block of live playing four times. It counts when the first of the two is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
__all__ = ["Instrument", "__version__", "load", "read_score", "render"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("synthnet.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
