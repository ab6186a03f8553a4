"""All distances of a sound from its reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from synthnet.evaluation.cqt import rmse_cqt_at_floors
from synthnet.evaluation.level import level_difference_db
from synthnet.evaluation.spectral import log_spectral_distance_db


@dataclass(frozen=True)
class Distances:
    """How far a sound is from its reference, in dB.

    Attributes:
        rmse_cqt_db, rmse_cqt_50_db: RMSE-CQT with the floor at -80 and at -50 dB, mean over whole seconds.
        log_spectral_db: multi-resolution log-spectral distance.
        level_db: how much louder than the reference, of root mean squares.
    """

    rmse_cqt_db: float
    rmse_cqt_50_db: float
    log_spectral_db: float
    level_db: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def distances(reference: np.ndarray, test: np.ndarray, sample_rate_hz: int) -> Distances:
    """All distances of samples [n] from reference samples [n]; raises as `rmse_cqt_at_floors`."""
    at_80, at_50 = rmse_cqt_at_floors(reference, test, sample_rate_hz).mean(axis=1).tolist()
    spectral = log_spectral_distance_db(reference, test, sample_rate_hz)
    return Distances(at_80, at_50, spectral, level_difference_db(reference, test))


def mean_distances(each: Sequence[Distances]) -> Distances:
    """The mean of each figure over some pieces."""
    rows = np.array([list(one.as_dict().values()) for one in each])
    return Distances(*rows.mean(axis=0).tolist())
