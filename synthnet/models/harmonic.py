"""The harmonic instrument: one small network shapes the partials and the noise of each note.

After DDSP (Engel, Hantrakul, Gu, Roberts, ICLR 2020: harmonics plus filtered noise, trained by a spectral distance),
with two deviations. Notes of a score take the place of a sounding f0 and loudness, so nothing is recurrent: an envelope
is a function of key, velocity, time since the onset and time since the release. And every note is its own voice, so
chords are sums of notes.

A note is shaped on its own clock, a frame every 5 ms from its onset:

    features(key, velocity, time, release, touch) -> network -> log amplitudes [H] of partials, [B] of noise bands

Partials sound at `f0_hz * ratios`, which were measured (`synthnet.models.frequencies`) and are not trained; the network
learns all levels and envelopes. Noise bands are evenly spaced on a logarithmic scale of frequency. The kernels that sum
both are in `synthnet.kernels.voices`; `synthnet.generation.harmonic` plays without torch. Everything is in hertz and
seconds, so a network plays at any sample rate, whatever it learned from.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from synthnet.kernels.voices import Breakpoints, add_voices, find_breakpoints, voices_gradient

N_KEYS = 128
WOBBLE_S = 2.0
LOWEST_S = 0.002  # of the logarithmic scales of time
N_TIMES, N_RELEASES = 20, 10  # bumps along them
LONGEST_RELEASE_S = 3.0
LOUDEST_LOG = 0.0  # largest log amplitude: full scale


@dataclass(frozen=True)
class HarmonicConfig:
    """Shape of a harmonic instrument, and the limits of what it heard.

    Args:
        partials: H, at most so many a note; those above half the sample rate are left out.
        bands: B, of noise.
        width: of the three hidden layers.
        embedding: numbers that describe a key.
        longest_s: length of the longest note it learned; beyond it envelopes go on as they tend.
    """

    partials: int = 160
    bands: int = 40
    width: int = 256
    embedding: int = 64
    longest_s: float = 12.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def features(self) -> int:
        """Inputs of the network."""
        return self.embedding + 1 + 3 + N_TIMES + 1 + N_RELEASES + 1 + 2


class Notes(NamedTuple):
    """Notes [N] of a slice, in samples of the slice; `row` is the slice that each belongs to.

    `gap_s` is the time since the note before ended, negative if it still sounded, and `step` the interval from it in
    semitones: what tells legato.
    """

    row: np.ndarray
    pitch: np.ndarray
    velocity: np.ndarray
    onset: np.ndarray
    release: np.ndarray
    gap_s: np.ndarray
    step: np.ndarray


def bumps(log_time: Tensor, n: int, longest_s: float) -> Tensor:
    """Gaussians [..., n] evenly spaced on the logarithm of time, from 2 ms to `longest_s`."""
    centres = torch.linspace(math.log(LOWEST_S), math.log(longest_s), n)
    return torch.exp(-0.5 * ((log_time[..., None] - centres) / (centres[1] - centres[0])) ** 2)


class HarmonicInstrument(nn.Module):
    """Envelopes of notes, and their sound."""

    def __init__(self, config: HarmonicConfig) -> None:
        super().__init__()
        self.config = config
        h, b = config.partials, config.bands
        self.key = nn.Embedding(N_KEYS, config.embedding)
        self.hidden = nn.Sequential(
            nn.Linear(config.features, config.width), nn.LeakyReLU(0.1),
            nn.Linear(config.width, config.width), nn.LeakyReLU(0.1),
            nn.Linear(config.width, config.width), nn.LeakyReLU(0.1),
        )  # fmt: skip
        self.out = nn.Linear(config.width, h + b)
        self.slopes = nn.Linear(3, h + b, bias=False)  # of the logarithm of velocity, velocity, and time
        self.gain = nn.Embedding(N_KEYS, h + b)  # of each key's own, log amplitude
        self.fall = nn.Embedding(N_KEYS, h + b)  # and a second
        nn.init.normal_(self.key.weight, std=0.3)
        nn.init.normal_(self.out.weight, std=0.02)
        nn.init.zeros_(self.slopes.weight)
        nn.init.zeros_(self.gain.weight)
        nn.init.zeros_(self.fall.weight)
        with torch.no_grad():
            self.out.bias[:h] = -4.0 - 0.03 * torch.arange(h)
            self.out.bias[h:] = -9.0
            self.slopes.weight[:, 0] = 2.0  # General MIDI's law: 40 log10(velocity / 127) dB
        self.register_buffer("cents", torch.zeros(N_KEYS))
        self.register_buffer("stretch", torch.zeros(N_KEYS))
        self.register_buffer("ratios", torch.arange(1, h + 1, dtype=torch.float32))
        self.register_buffer("nearest", torch.arange(N_KEYS, dtype=torch.int32))
        self.register_buffer("release_s", torch.ones(N_KEYS))

    def levels(self, key: Tensor, note: Tensor, log_v: Tensor, t: Tensor, r: Tensor) -> Tensor:
        """Log amplitudes [N, K, H + B] at times t since the onset and r since the release (negative: held), [N, K]."""
        gone = (r >= 0).float()[..., None]
        after = torch.log(r.clamp(min=1e-4))
        x = torch.cat(
            [
                note[:, None].expand(-1, t.shape[1], -1),
                bumps(torch.log(t.clamp(min=1e-4)), N_TIMES, self.config.longest_s),
                t[..., None] / 4,
                bumps(after, N_RELEASES, LONGEST_RELEASE_S) * gone,
                gone,
            ],
            -1,
        )
        linear = torch.stack([log_v[:, None].expand_as(t), log_v[:, None].exp().expand_as(t), t], -1)
        level = self.out(self.hidden(x)) + self.slopes(linear)
        return level + 3 * self.gain(key)[:, None] + 3 * self.fall(key)[:, None] * t[..., None]

    def envelopes(self, notes: Notes, points: Breakpoints) -> Tensor:
        """Amplitudes [N, K, H + B] of partials and bands at the breakpoints."""
        pitch = torch.from_numpy(notes.pitch.astype(np.int64))
        key = self.nearest[pitch].long()
        v = torch.from_numpy(notes.velocity.astype(np.float32)) / 127
        gap_s, step = (torch.from_numpy(x.astype(np.float32)) for x in (notes.gap_s, notes.step))
        log_v = torch.log(v)
        facts = [(pitch - 64.0) / 24, log_v, v, v * v, torch.exp(-gap_s.clamp(min=0) / 0.1), (step / 12).clamp(-2, 2)]
        note = torch.cat([self.key(key), torch.stack(facts, -1)], -1)
        t, r = torch.from_numpy(points.time_s), torch.from_numpy(points.release_s)
        longest = self.config.longest_s
        beyond = (t - longest).clamp(min=0)
        turn = beyond.remainder(2 * WOBBLE_S)
        level = self.levels(key, note, log_v, t - beyond - WOBBLE_S + (turn - WOBBLE_S).abs(), r) if bool(beyond.any()) else self.levels(key, note, log_v, t, r)
        amplitude = torch.exp(level.clamp(max=LOUDEST_LOG))
        end_s = self.release_s[pitch][:, None]
        amplitude = amplitude * ((end_s - r) / (0.2 * end_s)).clamp(0, 1)[..., None]
        # Where a release cuts the held envelope, it is as far as a straight line to the next breakpoint has come.
        before = torch.cat([amplitude[:, :1], amplitude[:, :-1]], 1)
        return torch.lerp(before, amplitude, torch.from_numpy(points.share)[..., None])

    def forward(
        self, notes: Notes, n_rows: int, n_samples: int, sample_rate_hz: int, tables: np.ndarray, positions: np.ndarray
    ) -> Tensor:
        """Audio [n_rows, n_samples] of notes."""
        points = find_breakpoints(
            notes.onset, notes.release, self.release_s.numpy()[notes.pitch], n_samples, sample_rate_hz
        )
        amplitude = self.envelopes(notes, points)
        f0_hz, ratios = frequencies_of(notes.pitch, self.cents.numpy(), self.stretch.numpy(), self.ratios.numpy())
        cycles = np.broadcast_to((f0_hz / sample_rate_hz)[:, None], points.at.shape).copy()
        tones, noises = amplitude.split([self.config.partials, self.config.bands], -1)
        voices = _Voices.apply(
            tones.contiguous(), noises.contiguous(), n_samples,
            (notes.onset, points.at, points.at * cycles, cycles, ratios, tables, positions),
        )  # fmt: skip
        return torch.zeros(n_rows, n_samples).index_add(0, torch.from_numpy(notes.row), voices)


class _Voices(torch.autograd.Function):
    """`add_voices` with its gradient."""

    @staticmethod
    def forward(ctx: Any, tones: Tensor, noises: Tensor, n_samples: int, rest: tuple) -> Tensor:
        out = np.zeros((len(tones), n_samples), np.float32)
        add_voices(out, tones.detach().numpy(), noises.detach().numpy(), *rest)
        ctx.rest, ctx.shapes = rest, (tones.shape, noises.shape)
        return torch.from_numpy(out)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        tones, noises = (np.zeros(shape, np.float32) for shape in ctx.shapes)
        voices_gradient(gradient.contiguous().numpy(), tones, noises, *ctx.rest)
        return torch.from_numpy(tones), torch.from_numpy(noises), None, None


def frequencies_of(pitch: np.ndarray, cents: np.ndarray, stretch: np.ndarray, ratios: np.ndarray):
    """Fundamentals in Hz, float64 [N], and frequencies of the partials relative to them, float64 [N, H]."""
    f0_hz = 440.0 * 2.0 ** ((pitch - 69 + cents[pitch].astype(np.float64) / 100) / 12)
    r, b = ratios.astype(np.float64), stretch.astype(np.float64)[pitch][:, None]
    return f0_hz, r * np.sqrt((1 + b * r * r) / (1 + b))
