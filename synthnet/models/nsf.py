"""A neural source-filter model (Wang, Takaki and Yamagishi 2019): from the score alone, it does not hear itself.

Oscillators and noises are the source; WaveNet's layers, which the score steers, are the filter. There is no past
audio, so nothing that it plays a little wrong comes back. As no score tells all phases of a recording, it is trained on
spectra (`synthnet.spectral.spectral_distance`), magnitudes and phases apart.

Deviations from the paper: several envelopes of each partial, at measured frequencies and phases (`synthnet.tuning`);
what was measured, partials and modes at their levels, is added to the output, as in spectral modelling synthesis (Serra
and Smith 1990); a score for each layer instead of acoustic features; the layers and the head of classes of
`synthnet.models.wavenet`, so that every engine plays it.
"""

from __future__ import annotations

import torch

from synthnet.models.config import ModelConfig
from synthnet.models.inputs import EveryLayerScore, NoAudio
from synthnet.models.network import Network


def build(config: ModelConfig) -> Network:
    """See the module."""
    return Network(
        config,
        audio=NoAudio(config),
        score=EveryLayerScore(config),
        separable=False,
        skip="shared",
        activation=torch.relu,
    )
