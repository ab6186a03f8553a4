"""The harmonic instrument: one small network shapes the partials and the noise of each note.

After DDSP (Engel, Hantrakul, Gu, Roberts, ICLR 2020: harmonics plus filtered noise, trained by a spectral distance),
with two deviations. The notes of a score take the place of a sounding f0 and loudness, so nothing is recurrent: an
envelope is a function of key, velocity, and the times since onset and release. And every note is a voice, so that
chords are sums of notes.

    key, velocity, time, release, touch -> network -> log amplitudes of partials [H] and noise bands [B]

Partials sound at `f0_hz * ratios`, which are measured (`synthnet.models.measuring`) and not trained; the network
learns all levels and envelopes. They are computed at breakpoints on the note's own clock, close together after an onset
or a release and rarer later; `synthnet.kernels.voices` sums the voices. Everything is in hertz and seconds, so that a
network plays at any sample rate. The network's formulas stand in `synthnet.models.envelopes`, since
`synthnet.generation.harmonic` plays them without torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from synthnet.kernels.voices import Voices, add_voices, voices_gradient
from synthnet.models.config import HARMONIC_FEATURES, HarmonicConfig
from synthnet.models.envelopes import N_KEYS, EnvelopeNetwork, Notes
from synthnet.models.losses import spectral_distance
from synthnet.models.model import Losses, Model


class HarmonicInstrument(EnvelopeNetwork, Model):
    """Amplitudes of the partials and noise bands of notes, and their sound."""

    error_name = "distance"
    xp = torch

    def __init__(self, config: HarmonicConfig) -> None:
        super().__init__()
        self.config = config
        h, outputs = config.partials, config.partials + config.bands
        # `EnvelopeNetwork.log_amplitudes` computes with these weights; the modules name and initialise them.
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

    @property
    def arrays(self) -> Mapping[str, Tensor]:
        """The weights by name."""
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

    def forward(
        self, notes: Notes, row: np.ndarray, n_rows: int, n_samples: int, sample_rate_hz: int, positions: np.ndarray
    ) -> Tensor:
        """Audio [n_rows, n_samples] of notes.

        Args:
            notes: times in samples of their rows.
            row: int64 [N], the row of each note.
            positions: int64 [N], where in the tables of noise each note's sample 0 is read.
        """
        amplitudes, voices = self.voices(notes, n_samples, sample_rate_hz, positions)
        tones, noise_magnitudes = amplitudes.split([self.config.partials, self.config.bands], -1)
        sounds = _Sounds.apply(tones.contiguous(), noise_magnitudes.contiguous(), n_samples, voices)
        return torch.zeros(n_rows, n_samples).index_add(0, torch.from_numpy(row), sounds)

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


class _Sounds(torch.autograd.Function):
    """`add_voices` with its gradient."""

    @staticmethod
    def forward(ctx: Any, tones: Tensor, noises: Tensor, n_samples: int, voices: Voices) -> Tensor:
        out = np.zeros((len(tones), n_samples), np.float32)
        add_voices(out, tones.detach().numpy(), noises.detach().numpy(), voices)
        ctx.voices, ctx.shapes = voices, (tones.shape, noises.shape)
        return torch.from_numpy(out)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        tones, noises = (np.zeros(shape, np.float32) for shape in ctx.shapes)
        voices_gradient(gradient.contiguous().numpy(), tones, noises, ctx.voices)
        return torch.from_numpy(tones), torch.from_numpy(noises), None, None
