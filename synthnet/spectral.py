"""A loss for what the likelihood hardly sees: faint tones and rumble where the teacher is silent.

An error 50 dB below the music is far below the dither and costs next to nothing in nats. But it is heard, and in
RMSE-CQT, which takes decibels of every bin, it is most of what is wrong with a network that has learned its notes:
nonlinear layers fold the harmonics that they make beyond half the sample rate back between and below the partials.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

WINDOWS_S = (0.25, 0.0625)  # of the spectra, at most; a fine one for low notes, a short one for onsets
LOWEST_HZ = 28.0  # a little below RMSE-CQT's lowest bin, as its highest is a little above 4 kHz
HIGHEST_HZ = 4_100.0
FLOOR_DB = -75.0  # below the loudest bin of the slice: errors below it do not count
SILENT_BINS = 30  # with the floor in so many bins, a window is silent and not made louder


def spectral_loss(means: Tensor, clean: Tensor, sample_rate_hz: int) -> Tensor:
    """Mean log(1 + error / teacher), powers in the bins of spectra, of expected samples [B, T] against the clean ones.

    In nats, 0 or more: the mean over Hann windows of the two lengths (overlapping by half; the slice where it is
    shorter) and over the logarithm of frequency, from 28 Hz or two bins to 4100 Hz. Both spectra have the teacher's
    power before they are subtracted: otherwise the surest way to little noise would be to play softly.
    """
    losses = []
    for length_s in WINDOWS_S:
        length = min(round(length_s * sample_rate_hz), clean.shape[1])
        window, weights = _window_and_weights(length, sample_rate_hz)
        window, weights = window.to(clean.device), weights.to(clean.device)
        mine, theirs = (
            torch.fft.rfft(samples.unfold(1, length, max(1, length // 2)) * window) for samples in (means, clean)
        )
        power, own_power = _power(theirs), _power(mine)  # [B, frames, bins]
        floor = power.amax(dim=(1, 2), keepdim=True).clamp(min=1e-6) * 10 ** (FLOOR_DB / 10)
        silence = SILENT_BINS * floor
        gain = (power.sum(-1, keepdim=True) + silence) / (own_power.sum(-1, keepdim=True) + silence)
        error = _power(mine * gain.sqrt() - theirs)
        losses.append((torch.log1p(error / (power + floor)) * weights).sum(-1).mean())
    return torch.stack(losses).mean()


def _power(spectrum: Tensor) -> Tensor:
    return spectrum.real.square() + spectrum.imag.square()


@functools.lru_cache(maxsize=8)
def _window_and_weights(length: int, sample_rate_hz: int) -> tuple[Tensor, Tensor]:
    """A Hann window, and the share of each bin in the mean over the logarithm of frequency."""
    frequency = torch.arange(length // 2 + 1) * (sample_rate_hz / length)
    heard = (frequency >= max(LOWEST_HZ, 2 * sample_rate_hz / length)) & (frequency < HIGHEST_HZ)
    weights = heard / frequency.clamp(min=1.0)
    return torch.hann_window(length), weights / weights.sum().clamp(min=1e-12)
