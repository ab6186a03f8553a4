"""The player of harmonic instruments: numpy and numba alone.

Audio is a function of time: `HarmonicPlayer.play` gives any block of a part, the same samples as the whole, to the
rounding of 32-bit floats. Nothing is carried from block to block, so that memory is constant and live playing is the
same computation on short blocks. Silence costs nothing; partials below -100 dB are not computed.

Controllers act on sounding notes: `pitch` (bends and tuning) and `vibrato` (5.5 Hz, up to 50 cents) on the frequencies,
every 5 ms; `gain` on the amplitude, smoothed over 10 ms. The vibrato of the instrument's player comes on top in notes
held for more than 0.05 s, and is full at 0.2 s.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numba
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from synthnet.kernels.voices import TABLE_SAMPLES, Voices, add_voices, split_at_cells
from synthnet.models.config import HarmonicConfig
from synthnet.models.envelopes import EnvelopeNetwork, Notes
from synthnet.score.controllers import Controls

BLOCK_S = 1.0  # longer stretches are made of blocks
PITCH_STEP_S = 0.005
VIBRATO_HZ, VIBRATO_SEMITONES = 5.5, 0.5  # of the modulation wheel
VIBRATO_FROM_S, VIBRATO_FULL_S = 0.05, 0.2  # after the onset: the player's begins, and is as deep as it gets
KEY_STRIDE = 102_931  # samples of noise from key to key, so that two keys do not have the same

SMALLEST_SHARED = 16_384  # samples of all notes: below it threads cost more than they gain, above all on a busy machine

blas_threads = functools.cache(ThreadpoolController)  # made at first use, when numpy's BLAS is loaded


@contextlib.contextmanager
def numba_threads(number: int | None) -> Iterator[None]:
    """Limit the threads of numba's parallel loops; None: no limit."""
    before = numba.get_num_threads()
    numba.set_num_threads(number or before)
    try:
        yield
    finally:
        numba.set_num_threads(before)


@dataclass(frozen=True)
class Part:
    """What one instrument plays: notes and the controls of their channel."""

    notes: Notes
    controls: Controls = field(default_factory=Controls)


class HarmonicPlayer(EnvelopeNetwork):
    """A harmonic instrument at one sample rate.

    Args:
        weights: of `synthnet.models.harmonic.HarmonicInstrument`, by name.
        seed: of the noise; the same seed gives the same audio.
    """

    xp = np

    def __init__(
        self,
        config: HarmonicConfig,
        weights: Mapping[str, NDArray],
        sample_rate_hz: int,
        seed: int | tuple[int, ...] = 0,
    ) -> None:
        self.config, self.sample_rate_hz = config, sample_rate_hz
        self.weights = {name: np.asarray(value, np.float32) for name, value in weights.items() if name != "nearest"}
        self.weights["nearest"] = np.asarray(weights["nearest"], np.int64)
        self.tails = np.ceil(self.weights["release_s"] * sample_rate_hz).astype(np.int64)
        self.first_noise = int(np.random.default_rng(seed).integers(TABLE_SAMPLES))

    @property
    def arrays(self) -> Mapping[str, NDArray]:
        """The weights by name."""
        return self.weights

    def play(self, part: Part, start: int, stop: int) -> NDArray[np.float32]:
        """Samples `start` to `stop` of a part, float32."""
        out = np.zeros(stop - start, np.float32)
        step = round(BLOCK_S * self.sample_rate_hz)
        with blas_threads().limit(limits=1, user_api="blas"):  # several would mostly wait for each other
            for begin in range(start, stop, step):
                block = out[begin - start : begin - start + step]
                sounding = part.notes.sounding(begin, begin + len(block), self.tails)
                if len(sounding):
                    self._add(part.notes.take(sounding, begin), part.controls, begin, block)
        return out

    def _add(self, notes: Notes, controls: Controls, begin: int, out: NDArray[np.float32]) -> None:
        """Add notes, whose times count from sample `begin`, to the block that begins there."""
        sounds = self._sounds(notes, controls, begin, len(out))
        out += sounds.sum(axis=0) * controls.smoothed("gain", begin, len(out), self.sample_rate_hz)

    def _sounds(self, notes: Notes, controls: Controls, begin: int, n: int) -> NDArray[np.float32]:
        """Each of N notes alone, without the channel's gain, [N, n]."""
        rate = self.sample_rate_hz
        positions = (self.first_noise + begin + KEY_STRIDE * notes.pitch) % TABLE_SAMPLES
        amplitudes, voices = self.voices(notes, n, rate, positions)
        if controls.pitch or controls.vibrato or self.config.vibrato_cents:
            held = notes.release - notes.onset
            amplitudes, voices = self._bend(amplitudes, voices, held, controls, begin, n)
        tones, noise_magnitudes = map(np.ascontiguousarray, np.split(amplitudes, [self.config.partials], axis=-1))
        sounds = np.zeros((len(notes.pitch), n), np.float32)
        with numba_threads(1 if sounds.size < SMALLEST_SHARED else None):
            add_voices(sounds, tones, noise_magnitudes, voices)
        return sounds

    def _bend(
        self, amplitudes: NDArray, voices: Voices, held: NDArray, controls: Controls, begin: int, n: int
    ) -> tuple[NDArray, Voices]:
        """Amplitudes [N, K', H + B] and voices with the breakpoints K' that moving frequencies need.

        The frequency is constant within cells of 5 ms on each note's clock; phases are summed from the onset. Notes are
        `held` [N] samples long.
        """
        rate, cell = self.sample_rate_hz, round(PITCH_STEP_S * self.sample_rate_hz)
        onset, unbent = begin + voices.onset, voices.cycles[:, 0]
        first = np.maximum(-voices.onset, 0) // cell  # cell of the block
        last = np.maximum(n - voices.onset, 1) // cell  # that of the sample after it

        def bent(cells: NDArray, which: NDArray | slice = slice(None)) -> NDArray:
            """Cycles a sample of notes in numbered cells [N, M]."""
            since_s, time_s = cell * cells / rate, (onset[which, None] + cell * cells) / rate
            vibrato = controls.value_at("vibrato", time_s) * np.sin(2 * np.pi * VIBRATO_HZ * time_s)
            semitones = controls.value_at("pitch", time_s) + VIBRATO_SEMITONES * vibrato
            semitones += self._players_vibrato(since_s, held[which, None] / rate)
            frequencies: NDArray = unbent[which, None] * 2.0 ** (semitones / 12)
            return frequencies

        phase = self._phase_before(onset, unbent, first)
        # Each note alone, for its past may be long.
        for i in np.flatnonzero(np.isnan(phase)).tolist():
            phase[i] = cell * bent(np.arange(first[i])[None], np.array([i])).sum()
        cycles = bent(first[:, None] + np.arange(int((last - first).max()) + 1))
        starts = np.cumsum(np.concatenate([phase[:, None], cell * cycles[:, :-1]], axis=1), axis=1)
        self._keep_phase(onset, unbent, last, np.take_along_axis(starts, (last - first)[:, None], axis=1)[:, 0])
        moved, *split = split_at_cells(amplitudes, voices.breakpoints, first, last, cell, starts, cycles)
        return moved, voices._replace(**dict(zip(("breakpoints", "phases", "cycles"), split, strict=True)))

    def _phase_before(self, onset: NDArray, cycles: NDArray, first: NDArray) -> NDArray:
        """Phases of notes where their cells number `first` begin, [N]; nan: to be summed from the onset."""
        return np.full(len(first), np.nan)

    def _keep_phase(self, onset: NDArray, cycles: NDArray, last: NDArray, phase: NDArray) -> None:
        """Nothing: a block is a function of time."""

    def _players_vibrato(self, since_s: NDArray, held_s: float | NDArray) -> NDArray:
        """Semitones at times since the onset of a note held for some time; it grows no deeper after the release."""
        growth = (np.minimum(since_s, held_s) - VIBRATO_FROM_S) / (VIBRATO_FULL_S - VIBRATO_FROM_S)
        sine = np.sin(2 * np.pi * self.config.vibrato_hz * (since_s - VIBRATO_FROM_S))
        return self.config.vibrato_cents / 100 * np.clip(growth, 0, 1) * sine
