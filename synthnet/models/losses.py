"""The loss of a harmonic instrument: a spectral distance between two signals.

A multi-resolution distance of spectra after DDSP (Engel et al. 2020), with a constant-Q transform as one more
resolution, since that is what RMSE-CQT measures. For each resolution, with magnitudes a of the signal and b of the
reference, m the maximum of b in the slice:

    mean |log(a + 0.0001 m) - log(b + 0.0001 m)| + 20 mean |a - b| / m

The floor is 80 dB below the maximum, as in RMSE-CQT, and each slice is measured against its own maximum, so that soft
music counts as much as loud music. The constant-Q resolution has the first term alone, twice.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numba as nb
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from synthnet.kernels import CACHE

WINDOWS_S = (0.093, 0.046, 0.023, 0.0116, 0.0058)  # 4096 to 256 samples at 44.1 kHz
FLOOR = 1e-4
LINEAR_WEIGHT = 20.0
CQT_WEIGHT = 2.0
CQT_LOWEST_HZ, CQT_BINS, CQT_HOP_S = 32.703, 84, 0.032
SILENCE = 1e-3  # a reference's maximum counts as this at least


@nb.njit(parallel=True, fastmath=True, cache=CACHE, nogil=True)
def _distance(spectrum: Any, reference: Any, top: Any, gradient: Any) -> float:
    """The distance of complex spectra [R, F, B], and its gradient by `spectrum`; `top` [R] is m of each row."""
    n_rows, n_frames, n_bins = spectrum.shape
    part = np.zeros((n_rows, n_frames))
    count = n_rows * n_frames * n_bins
    for item in nb.prange(n_rows * n_frames):
        r, f = item // n_frames, item % n_frames
        floor, weight = np.float32(FLOOR) * top[r], np.float32(LINEAR_WEIGHT) / top[r]
        total = 0.0
        for b in range(n_bins):
            z, w = spectrum[r, f, b], reference[r, f, b]
            a = math.sqrt(z.real * z.real + z.imag * z.imag)
            c = math.sqrt(w.real * w.real + w.imag * w.imag)
            total += abs(math.log((a + floor) / (c + floor))) + weight * abs(a - c)
            slope = (np.float32(1.0) / (a + floor) + weight) / (a + np.float32(1e-12))
            if a < c:
                slope = -slope
            gradient[r, f, b] = z * np.float32(slope / count)
        part[r, f] = total
    return part.sum() / count


class _STFTDistance(torch.autograd.Function):
    """Distance of two signals [R, T] at one window of n samples; its gradient is computed with it."""

    @staticmethod
    def forward(ctx: Any, signal: Tensor, reference: Tensor, window: Tensor) -> Tensor:
        n, hop = len(window), len(window) // 2
        a, b = (torch.fft.rfft(x.detach().unfold(1, n, hop) * window, norm="ortho") for x in (signal, reference))
        top, by_spectrum = b.abs().amax((1, 2)).clamp(min=SILENCE), torch.empty_like(a)
        value = _distance(a.numpy(), b.numpy(), top.numpy(), by_spectrum.numpy())
        by_spectrum[..., 1:-1] *= 0.5  # the inverse transform counts these bins twice
        frames = torch.fft.irfft(by_spectrum, n, norm="ortho") * window  # [R, F, n]
        gradient = torch.zeros(signal.shape)
        hops = gradient[:, : (frames.shape[1] + 1) * hop].unflatten(1, (-1, hop))
        hops[:, :-1] += frames[..., :hop]
        hops[:, 1:] += frames[..., hop:]
        ctx.save_for_backward(gradient)
        return signal.new_tensor(value)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream, None, None


class SpectralDistance(nn.Module):
    """The distance of the module's docstring, for signals [R, T] at one sample rate.

    Attributes:
        shortest: T is at least this.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        super().__init__()
        from nnAudio.features.cqt import CQT1992v2

        # The constant-Q transform ends at 4 kHz: it runs at a lower rate, behind a low pass.
        self.factor = max(1, int(sample_rate_hz / 9_600))
        rate = sample_rate_hz // self.factor
        self.cqt = CQT1992v2(
            sr=rate, hop_length=round(CQT_HOP_S * rate), fmin=CQT_LOWEST_HZ, n_bins=CQT_BINS, verbose=False,
            output_format="Complex",
        ).requires_grad_(False)  # fmt: skip
        taps = torch.arange(32 * self.factor + 1) - 16 * self.factor
        low = torch.sinc(taps * 0.92 / self.factor) * torch.kaiser_window(len(taps), False, 8.0)
        self.low = nn.Buffer((low / low.sum())[None, None])
        self.shortest = (self.cqt.kernel_width // 2 + 1) * self.factor
        self.windows = [torch.hann_window(2 ** round(math.log2(s * sample_rate_hz))) for s in WINDOWS_S]

    def cqt_magnitudes(self, x: Tensor) -> Tensor:
        """Magnitudes [R, 84, frames] of the constant-Q transform."""
        if self.factor > 1:
            x = functional.conv1d(x[:, None], self.low, stride=self.factor, padding=self.low.shape[-1] // 2)[:, 0]
        return (self.cqt(x).square().sum(-1) + 1e-10).sqrt()

    def forward(self, signal: Tensor, reference: Tensor) -> Tensor:
        """The distance, a scalar; its gradient is by `signal` alone."""
        with torch.no_grad():
            b = self.cqt_magnitudes(reference)
            top = b.amax((1, 2), keepdim=True).clamp(min=SILENCE)
        a = self.cqt_magnitudes(signal)
        total = CQT_WEIGHT * (torch.log(a + FLOOR * top) - torch.log(b + FLOOR * top)).abs().mean()
        for window in self.windows:
            total = total + _STFTDistance.apply(signal, reference, window)
        return total


@functools.lru_cache(maxsize=4)
def spectral_distance(sample_rate_hz: int) -> SpectralDistance:
    """The distance for one sample rate; it has no parameters to train."""
    return SpectralDistance(sample_rate_hz)
