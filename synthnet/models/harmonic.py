"""The harmonic instrument: one small network shapes the partials and the noise of each note.

After DDSP (Engel, Hantrakul, Gu, Roberts, ICLR 2020: harmonics plus filtered noise, trained by a spectral distance),
with two deviations. The notes of a score take the place of a sounding f0 and loudness, so nothing is recurrent: an
envelope is a function of key, velocity, and the times since onset and release. And every note is a voice, so that
chords are sums of notes.

    key, velocity, time, release, touch -> network -> log amplitudes of partials [H] and noise bands [B]

Partials sound at `f0_hz * ratios`, which are measured (`synthnet.models.measuring`) and not trained; the network
learns all levels and envelopes. They are computed at breakpoints on the note's own clock, close together after an onset
or a release and rarer later; `synthnet.kernels.voices` sums the voices. Everything is in hertz and seconds, so that a
network plays at any sample rate. `synthnet.generation.harmonic` plays without torch; this is its slow twin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from synthnet.kernels.voices import Breakpoints, add_voices, find_breakpoints, noise_tables, voices_gradient
from synthnet.models.config import HARMONIC_FEATURES, HarmonicConfig
from synthnet.models.envelopes import (
    N_KEYS,
    TABLE_SCALE,
    WOBBLE_S,
    Notes,
    bent_time,
    fade,
    fold,
    frequencies_of,
    linear_features,
    note_features,
    time_features,
)
from synthnet.models.losses import spectral_distance
from synthnet.models.model import Losses, Model


class HarmonicInstrument(Model):
    """Amplitudes of the partials and noise bands of notes, and their sound."""

    error_name = "distance"

    def __init__(self, config: HarmonicConfig) -> None:
        super().__init__()
        self.config = config
        h, outputs = config.partials, config.partials + config.bands
        self.key = nn.Embedding(N_KEYS, config.embedding)
        self.hidden = nn.Sequential(
            nn.Linear(config.embedding + HARMONIC_FEATURES, config.width), nn.LeakyReLU(0.1),
            nn.Linear(config.width, config.width), nn.LeakyReLU(0.1),
            nn.Linear(config.width, config.width), nn.LeakyReLU(0.1),
        )  # fmt: skip
        self.out = nn.Linear(config.width, outputs)
        self.slopes = nn.Linear(3, outputs, bias=False)  # by log velocity, velocity and time
        self.gain = nn.Embedding(N_KEYS, outputs)  # of each key, log amplitude
        self.fall = nn.Embedding(N_KEYS, outputs)  # of each key, log amplitude a second
        nn.init.normal_(self.key.weight, std=0.3)
        nn.init.normal_(self.out.weight, std=0.02)
        for weight in (self.slopes.weight, self.gain.weight, self.fall.weight):
            nn.init.zeros_(weight)
        with torch.no_grad():
            self.out.bias[:h] = -4.0 - 0.03 * torch.arange(h)
            self.out.bias[h:] = -9.0
            self.slopes.weight[:, 0] = 2.0  # General MIDI's law of velocity: 40 log10(v / 127) dB
        # Measured: see `synthnet.models.measuring`.
        self.cents = nn.Buffer(torch.zeros(N_KEYS))
        self.stretch = nn.Buffer(torch.zeros(N_KEYS))
        self.ratios = nn.Buffer(torch.arange(1, h + 1, dtype=torch.float32))
        self.release_s = nn.Buffer(torch.ones(N_KEYS))
        self.nearest = nn.Buffer(torch.arange(N_KEYS, dtype=torch.int32))

    def log_amplitudes(self, notes: Notes, time_s: np.ndarray, release_s: np.ndarray) -> Tensor:
        """Log amplitudes [N, K, H + B] of notes [N] at times since onset and release (negative: held), [N, K]."""
        key = self.nearest[torch.from_numpy(notes.pitch)].long()
        note = torch.cat([self.key(key), torch.from_numpy(note_features(notes))], 1)
        times = torch.from_numpy(time_features(time_s, release_s, self.config.longest_s))
        x = torch.cat([note[:, None].expand(-1, time_s.shape[1], -1), times], -1)
        level = self.out(self.hidden(x)) + self.slopes(torch.from_numpy(linear_features(notes, time_s)))
        fall = self.fall(key)[:, None] * torch.from_numpy(bent_time(time_s))[..., None]
        return level + TABLE_SCALE * (self.gain(key)[:, None] + fall)

    def amplitudes(self, notes: Notes, points: Breakpoints) -> Tensor:
        """Amplitudes of partials and noise bands at the breakpoints, [N, K, H + B]."""
        longest_s = self.config.longest_s
        folded = fold(points.time_s, longest_s)
        level = self.log_amplitudes(notes, folded, points.release_s)
        if (points.time_s > longest_s).any():  # what fell at the end of the longest note goes on falling
            ends = np.tile(np.array([longest_s - WOBBLE_S, longest_s], np.float32), (len(notes.pitch), 1))
            tips = self.log_amplitudes(notes, ends, np.full_like(ends, -1))
            slope = (tips.diff(dim=1) / WOBBLE_S).clamp(max=0)
            level = level + slope * torch.from_numpy(points.time_s - folded)[..., None]
        amplitudes = level.clamp(max=0).exp()
        amplitudes = amplitudes * torch.from_numpy(fade(points, self.release_s.numpy()[notes.pitch]))[..., None]
        # A release cuts the held envelope on the straight line between two breakpoints.
        before = torch.cat([amplitudes[:, :1], amplitudes[:, :-1]], 1)
        return torch.lerp(before, amplitudes, torch.from_numpy(points.share)[..., None])

    def forward(
        self, notes: Notes, row: np.ndarray, n_rows: int, n_samples: int, sample_rate_hz: int, positions: np.ndarray
    ) -> Tensor:
        """Audio [n_rows, n_samples] of notes.

        Args:
            notes: times in samples of their rows.
            row: int64 [N], the row of each note.
            positions: int64 [N], where in the tables of noise each note's sample 0 is read.
        """
        tail_s = self.release_s.numpy()[notes.pitch]
        points = find_breakpoints(notes.onset, notes.release, tail_s, n_samples, sample_rate_hz)
        tones, noise_magnitudes = self.amplitudes(notes, points).split([self.config.partials, self.config.bands], -1)
        f0_hz, ratios = frequencies_of(notes.pitch, *(x.numpy() for x in (self.cents, self.stretch, self.ratios)))
        cycles = np.repeat((f0_hz / sample_rate_hz)[:, None], points.at.shape[1], axis=1)
        tables = noise_tables(self.config.bands, sample_rate_hz)
        fixed = (notes.onset, points.at, points.at * cycles, cycles, ratios, tables, positions)
        voices = _Voices.apply(tones.contiguous(), noise_magnitudes.contiguous(), n_samples, fixed)
        return torch.zeros(n_rows, n_samples).index_add(0, torch.from_numpy(row), voices)

    def matrices(self) -> list[nn.Parameter]:
        """The hidden layers' weights: tables and outputs, which have far to go, are slower by Muon than by Adam."""
        return [parameter for parameter in self.hidden.parameters() if parameter.ndim == 2]

    def loss(self, batch: Mapping[str, Tensor]) -> Losses:
        """The spectral distance of a batch of `synthnet.corpus.slices.NoteSlices`, in nats."""
        audio, rate = batch["audio"], int(batch["sample_rate_hz"][0])
        columns = [column.numpy() for column in batch["notes"].unbind(0)]
        notes = Notes(*[column.astype(np.int64) for column in columns[:4]], *columns[4:])
        heard = notes.sounding(0, audio.shape[1], np.ceil(self.release_s.numpy() * rate).astype(np.int64))
        row, noise = batch["row"].numpy()[heard], batch["noise"].numpy()[heard]
        distance = spectral_distance(rate)(self(notes.take(heard), row, *audio.shape, rate, noise), audio)
        return Losses(distance, distance)


class _Voices(torch.autograd.Function):
    """`add_voices` with its gradient."""

    @staticmethod
    def forward(ctx: Any, tones: Tensor, noises: Tensor, n_samples: int, fixed: tuple) -> Tensor:
        out = np.zeros((len(tones), n_samples), np.float32)
        add_voices(out, tones.detach().numpy(), noises.detach().numpy(), *fixed)
        ctx.fixed, ctx.shapes = fixed, (tones.shape, noises.shape)
        return torch.from_numpy(out)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        tones, noises = (np.zeros(shape, np.float32) for shape in ctx.shapes)
        voices_gradient(gradient.contiguous().numpy(), tones, noises, *ctx.fixed)
        return torch.from_numpy(tones), torch.from_numpy(noises), None, None
