"""Losses of spectra: for what the likelihood hardly sees, and for networks that cannot know the phase.

The likelihood hardly sees faint tones and rumble where the teacher is silent: an error 50 dB below the music is far
below the dither and costs next to nothing in nats. But it is heard, and in RMSE-CQT, which takes decibels of every
bin, it is most of what is wrong with a network that has learned its notes: nonlinear layers fold the harmonics that
they make beyond half the sample rate back between and below the partials.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional

from synthnet.roll import HIGHEST_PARTIAL

WINDOWS_S = (0.25, 0.0625)  # of the spectra, at most; a fine one for low notes, a short one for onsets
LOWEST_HZ = 28.0  # a little below RMSE-CQT's lowest bin, as its highest is a little above 4 kHz
HIGHEST_HZ = 4_100.0
FLOOR_DB = -75.0  # below the loudest bin of the slice: errors below it do not count
SILENT_BINS = 30  # with the floor in so many bins, a window is silent and not made louder

DISTANCE_WINDOWS_S = (0.25, 0.064, 0.016)
DISTANCE_FLOOR_DB = -80.0  # RMSE-CQT's
QUIETEST = 0.02  # amplitude from which the floor is measured in a slice that is more silent: else silence were all
AIR_WEIGHT = 0.3  # of frequencies beyond HIGHEST_HZ, which RMSE-CQT leaves out but ears do not
LEVEL_WEIGHT = 0.5


def spectral_loss(means: Tensor, clean: Tensor, sample_rate_hz: int) -> Tensor:
    """Mean log(1 + error / teacher), powers in the bins of spectra, of expected samples [B, T] against the clean ones.

    In nats, 0 or more: the mean over Hann windows of the two lengths (overlapping by half; the slice where it is
    shorter) and over the logarithm of frequency, from 28 Hz or two bins to 4100 Hz. Both spectra have the teacher's
    power before they are subtracted: otherwise the surest way to little noise would be to play softly.
    """
    losses = []
    for length_s in WINDOWS_S:
        length = min(round(length_s * sample_rate_hz), clean.shape[1])
        window, weights = _window_and_weights(length, sample_rate_hz, 0.0)
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


def spectral_distance(means: Tensor, clean: Tensor, sample_rate_hz: int) -> tuple[Tensor, Tensor]:
    """How far apart the spectra of expected samples [B, T] and clean ones are: their magnitudes, and their phases.

    Magnitudes, in nats of amplitude, 0 or more: the Huber loss (quadratic below 1) of the logarithm of each bin's
    ratio, as a mean over Hann windows of the three lengths (overlapping by three quarters; the slice where it is
    shorter) and over the logarithm of frequency, from 28 Hz or two bins to 7600 Hz at 16 kHz; those beyond 4100 Hz
    count less. To it comes half the size of the logarithm of the ratio of all these bins together: most are nearly
    silent, few say how loud it is.

    Phases: 1 less the cosine of their difference, 0 to 2, as the same mean. At the floor there are no phases, which
    makes 1. Where phases cannot be known the cosine is 0 on average, at any level.

    Neural source-filter models are trained on log magnitudes at several resolutions (Wang, Takaki and Yamagishi 2019).
    Deviations: the scale of frequency and the floor are RMSE-CQT's, and large errors count linearly.
    """
    distances, discords = [], []
    for length_s in DISTANCE_WINDOWS_S:
        length = min(round(length_s * sample_rate_hz), clean.shape[1])
        window, weights = _window_and_weights(length, sample_rate_hz, AIR_WEIGHT)
        window, weights = window.to(clean.device), weights.to(clean.device)
        mine, theirs = (
            torch.fft.rfft(samples.unfold(1, length, max(1, length // 4)) * window) for samples in (means, clean)
        )  # [B, frames, bins]
        own_power, power = _power(mine), _power(theirs)
        quietest = (QUIETEST * length / 4) ** 2  # power of a sine in its bin
        floor = power.amax(dim=(1, 2), keepdim=True).clamp(min=quietest) * 10 ** (DISTANCE_FLOOR_DB / 10)
        ratios = 0.5 * torch.log((own_power + floor) / (power + floor))
        silence, heard = SILENT_BINS * floor[..., 0], weights > 0
        own_level, level = ((each * heard).sum(-1) + silence for each in (own_power, power))
        levels = 0.5 * torch.log(own_level / level)
        distances.append((_huber(ratios) * weights).sum(-1).mean() + LEVEL_WEIGHT * levels.abs().mean())
        product = mine.real * theirs.real + mine.imag * theirs.imag
        cosines = product * torch.rsqrt((own_power + floor) * (power + floor))
        discords.append(1 - (cosines * weights).sum(-1).mean())
    return torch.stack(distances).mean(), torch.stack(discords).mean()


def _huber(errors: Tensor) -> Tensor:
    return functional.huber_loss(errors, torch.zeros_like(errors), reduction="none")


def _power(spectrum: Tensor) -> Tensor:
    return spectrum.real.square() + spectrum.imag.square()


@functools.lru_cache(maxsize=8)
def _window_and_weights(length: int, sample_rate_hz: int, air_weight: float) -> tuple[Tensor, Tensor]:
    """A Hann window, and the share of each bin in the mean over the logarithm of frequency."""
    frequency = torch.arange(length // 2 + 1) * (sample_rate_hz / length)
    heard = (frequency >= max(LOWEST_HZ, 2 * sample_rate_hz / length)) & (frequency < HIGHEST_PARTIAL * sample_rate_hz)
    weights = heard / frequency.clamp(min=1.0) * torch.where(frequency < HIGHEST_HZ, 1.0, air_weight)
    return torch.hann_window(length), weights / weights.sum().clamp(min=1e-12)
