"""Piano rolls and oscillators: note events in samples, and what a network is told about a slice of them.

Seconds become samples here and nowhere else. A roll is kept as events and rasterised slice by slice: a dense
roll at the audio rate would be 128 bytes a sample. Sample t of a roll belongs to sample t of the audio.
The oscillators stand for the harmonic source of a neural source-filter model (Wang, Takaki and Yamagishi,
ICASSP 2019), with one excitation for each partial and, as a roll is polyphonic, the sum over the notes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from scipy.signal import lfilter

from synthnet.score import Note
from synthnet.sinusoids import add_partials, add_tones, levels_between

N_KEYS = 128
FUNDAMENTALS_HZ = np.array([440.0 * 2.0 ** ((key - 69) / 12.0) for key in range(N_KEYS)])  # in equal temperament
RESTRIKE_GAP_S = 0.005
OSCILLATOR_DECAY_S = 0.04
# Time constants of the envelopes after the first, while the key is down and after: of a strike, a string that is damped
# (measured on FluidR3's piano and guitar) and one that rings (glockenspiel).
ENVELOPES_S = ((0.1, 0.03), (0.5, 0.12), (1.6, 0.35))
# Between two of these times a partial's level is a line; before the first and after the last it is theirs.
KNOTS_S = np.array([0.03, 0.06, 0.1, 0.16, 0.25, 0.4, 0.63, 1.0, 1.6, 2.5, 4.0, 6.3])
ATTACKS_S = 0.004 * (np.arange(24) + 0.5)  # after the onset: the middles of blocks of 4 ms
SILENT_LEVEL = -14.0  # in nats; a thirty-seventh of the last of 16 bits
N_MODES = 16  # of the body of a measured instrument, excited with each note: a knock
NOISE_BLOCK = 1_024
LOW_NOISE_HZ = 100.0
RINGS_OUT = 7  # time constants after the release until an envelope ends, at 0.1% of what it was
# Partials from this share of the sample rate on are left out: resampling has removed them from the audio.
HIGHEST_PARTIAL = 0.475


@dataclass(frozen=True)
class RollEvents:
    """Keys down from `onset` to before `release`: int64 arrays [N], sorted by onset, then pitch; times in samples."""

    pitch: np.ndarray
    onset: np.ndarray
    release: np.ndarray
    sample_rate_hz: int

    @property
    def n_samples(self) -> int:
        """The last release, 0 if there are no events."""
        return int(self.release.max(initial=0))

    def chosen(self, which: np.ndarray) -> RollEvents:
        """Those events for which `which` [N] is true."""
        return RollEvents(self.pitch[which], self.onset[which], self.release[which], self.sample_rate_hz)


@dataclass(frozen=True)
class Partials:
    """What oscillators sound: float32 [128, H], of each key; [128, H + `N_MODES`] where modes were measured.

    Attributes:
        ratios: frequencies, relative to the key's fundamental in equal temperament, A4 = 440 Hz: of the partials, in
            rising order, then of the modes of the instrument's body, 0 for none.
        phases: at the onset, in turns; 0: a sine begins.
        levels: float32 [128, H, J], natural logarithms of the amplitudes, full scale 1, at KNOTS_S after the onset
            while the key is down; None: they were not measured.
        releases_s: float32 [128], time constants with which they fall, besides, after the release; None: in a line
            within 40 ms.
        attacks: float32 [128, A], amplitudes at ATTACKS_S after the onset, besides; 1 after the last; None: at once.
    """

    ratios: np.ndarray
    phases: np.ndarray
    levels: np.ndarray | None = None
    releases_s: np.ndarray | None = None
    attacks: np.ndarray | None = None

    @classmethod
    def of_all_keys(cls, multiples: Sequence[float]) -> Partials:
        """These multiples of each key's fundamental [H], as sines."""
        ratios = np.tile(np.array(multiples, dtype=np.float32), (N_KEYS, 1))
        return cls(ratios, np.zeros_like(ratios))

    def turning(self, key: int, sample_rate_hz: int) -> tuple[np.ndarray, np.ndarray]:
        """Of a key's partials the turns a sample, 0 from 0.475 of the sample rate on, and at the onset: float64 [H]."""
        cycles = self.ratios[key].astype(np.float64) * (FUNDAMENTALS_HZ[key] / sample_rate_hz)
        return np.where(cycles < HIGHEST_PARTIAL, cycles, 0.0), self.phases[key].astype(np.float64)

    def levels_after(self, key: int, age_s: np.ndarray) -> np.ndarray:
        """Levels in nats of a key's partials so many seconds after its onset [T], before the release: [H, T].

        Raises ValueError where no levels were measured.
        """
        if self.levels is None:
            raise ValueError("these partials have no levels")
        return levels_between(self.levels[key], *_between_knots(age_s), np.float32(SILENT_LEVEL))


def _between_knots(age_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each time [T] the last of KNOTS_S before it, and how far it is on the way to the next, 0 to 1 and on."""
    knot = np.clip(np.searchsorted(KNOTS_S, age_s) - 1, 0, len(KNOTS_S) - 2)
    return knot, np.maximum((age_s - KNOTS_S[knot]) / np.diff(KNOTS_S)[knot], 0.0).astype(np.float32)


@overload
def to_samples(seconds: float, sample_rate_hz: int) -> np.int64: ...
@overload
def to_samples(seconds: np.ndarray, sample_rate_hz: int) -> np.ndarray: ...
def to_samples(seconds: float | np.ndarray, sample_rate_hz: int) -> np.int64 | np.ndarray:
    """The nearest sample of a time in seconds, of two the later; int64, of the shape of `seconds`."""
    return np.floor(np.asarray(seconds) * sample_rate_hz + 0.5).astype(np.int64)[()]


def roll_events(notes: Iterable[Note], sample_rate_hz: int) -> RollEvents:
    """The events of a binary roll, in which a key struck again drops to 0 for 5 ms before each later onset.

    Overlapping notes of one key hold it down until the later release, but for that gap; a shorter gap between two
    notes is widened to 5 ms. Notes of one key and onset are one event with the later release. An event lasts at
    least a sample, even where that narrows the gap.
    """
    notes = list(notes)
    note_pitch = np.array([note.pitch for note in notes], dtype=np.int64)
    note_onset = to_samples(np.array([note.start_s for note in notes]), sample_rate_hz)
    note_release = to_samples(np.array([note.end_s for note in notes]), sample_rate_hz)
    gap = to_samples(RESTRIKE_GAP_S, sample_rate_hz)
    keys = [np.zeros((3, 0), dtype=np.int64)]
    for key in np.unique(note_pitch):
        of_key = note_pitch == key
        onset, group = np.unique(note_onset[of_key], return_inverse=True)
        release = np.zeros_like(onset)
        np.maximum.at(release, group, note_release[of_key])
        release = np.maximum.accumulate(release)
        release[:-1] = np.minimum(release[:-1], onset[1:] - gap)
        release = np.maximum(release, onset + 1)
        keys.append(np.stack([np.full_like(onset, key), onset, release]))
    pitch, onset, release = np.concatenate(keys, axis=1)
    order = np.lexsort((pitch, onset))
    return RollEvents(pitch[order], onset[order], release[order], sample_rate_hz)


def events_from(events: RollEvents, start: int) -> RollEvents:
    """The same events with time 0 at sample `start`; those before it, which may still ring, have times below 0."""
    return RollEvents(events.pitch, events.onset - start, events.release - start, events.sample_rate_hz)


def rasterise(events: RollEvents, start: int, stop: int) -> np.ndarray:
    """The roll from sample `start` to before `stop`, any integers: uint8 [128, stop - start], 1 while a key is down."""
    roll = np.zeros((N_KEYS, stop - start), dtype=np.uint8)
    for pitch, onset, release in _events_within(events, start, stop, np.zeros(N_KEYS, np.int64)):
        roll[pitch, max(onset - start, 0) : release - start] = 1
    return roll


def oscillator_tails(partials: Partials, envelopes: int, sample_rate_hz: int) -> np.ndarray:
    """Samples after a release for which the oscillators of each key, with so many envelopes, sound on: int64 [128]."""
    first_s = OSCILLATOR_DECAY_S if partials.releases_s is None else RINGS_OUT * partials.releases_s.astype(np.float64)
    rings_s = max([0.0, *(RINGS_OUT * released for _, released in ENVELOPES_S[: envelopes - 1])])
    return to_samples(np.maximum(np.full(N_KEYS, rings_s), first_s), sample_rate_hz)


def oscillators(
    events: RollEvents, start: int, stop: int, partials: Partials, envelopes: int = 1, n_partials: int | None = None
) -> np.ndarray:
    """Sines of the lowest H = `n_partials` (None: all) partials of the notes, then their cosines: float32 [2 H E, N].

    Summed over the notes. The amplitude is 1 while the key is down, and falls in a line to 0 within 40 ms after the
    release; of partials that were measured it rises and falls as their attacks and releases have it. Partials from
    0.475 of the sample rate on (7.6 kHz at 16 kHz) are left out. Within 1e-5 of the exact value.

    With E envelopes, 1 to 4, the 2 H sines and cosines come E times: as above, then dying away from the onset on, and
    faster from the release on, with the time constants of `ENVELOPES_S`. Of these a network can mix how an
    instrument's partials begin, die and ring.
    """
    n_partials = partials.ratios.shape[1] if n_partials is None else n_partials
    return _source(events, start, stop, partials, envelopes, n_partials)[0]


def note_envelopes(events: RollEvents, start: int, stop: int, partials: Partials, n: int) -> np.ndarray:
    """The amplitudes of the first `n` envelopes that `oscillators` have, summed over the notes: float32 [n, N]."""
    return _source(events, start, stop, partials, n, 0)[1]


def deterministic_part(events: RollEvents, start: int, stop: int, partials: Partials) -> np.ndarray:
    """All partials and modes of the sounding notes at their levels, as the first envelope has it: [stop - start].

    The deterministic part of spectral modelling synthesis (Serra and Smith 1990); silence where there are no levels.
    """
    return _source(events, start, stop, partials, 1, 0)[2]


def _source(
    events: RollEvents, start: int, stop: int, partials: Partials, envelopes: int, n_partials: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`oscillators`, `note_envelopes` and `deterministic_part` of a slice, from one pass over its notes."""
    rate, n = events.sample_rate_hz, stop - start
    waves = np.zeros((envelopes, 2, n_partials, n), dtype=np.float32)
    together, total = np.zeros((envelopes, n), dtype=np.float32), np.zeros(n, dtype=np.float32)
    for pitch, onset, first, amplitudes in _sounding(events, start, stop, partials, envelopes):
        at, age = first - start, first - onset
        together[:, at : at + amplitudes.shape[1]] += amplitudes
        cycles, phases = partials.turning(pitch, rate)
        add_tones(waves, at, amplitudes, cycles, phases, age)
        if partials.levels is not None:
            places = _between_knots((age + np.arange(amplitudes.shape[1])) / rate)
            levels = partials.levels[pitch]
            add_partials(total, at, amplitudes[0], cycles, phases, age, levels, *places, np.float32(SILENT_LEVEL))
    return waves.reshape(2 * n_partials * envelopes, n), together, total


def noises(start: int, stop: int, n: int, sample_rate_hz: int, seed: tuple[int, ...]) -> np.ndarray:
    """N independent Gaussian noises of variance 1, float32 [N, stop - start], N at most 2: white, and low.

    The low one is what a low-pass filter of first order at 100 Hz leaves of white noise: of a rumble a network could
    make little from white noise in its short memory. A sample depends on its number and the seed alone, so that slices
    of one noise fit together.
    """
    first, last = start // NOISE_BLOCK - 1, -(-stop // NOISE_BLOCK)  # a block more, in which the filter settles
    blocks = [
        np.random.default_rng((*seed, 2**40 + block)).standard_normal((n, NOISE_BLOCK), dtype=np.float32)
        for block in range(first, last)
    ]
    noise = np.concatenate([np.zeros((n, 0), np.float32), *blocks], axis=1)
    if n > 1:
        pole = math.exp(-2 * math.pi * LOW_NOISE_HZ / sample_rate_hz)
        noise[1] = lfilter([math.sqrt(1 - pole**2)], [1.0, -pole], noise[1])
    return noise[:, start - first * NOISE_BLOCK :][:, : stop - start]


def excitation(
    events: RollEvents,
    start: int,
    stop: int,
    partials: Partials,
    n_partials: int,
    envelopes: int,
    n_noises: int,
    seed: tuple[int, ...],
) -> np.ndarray:
    """What comes with the score: `oscillators` and `noises`, float32 [2 H E + R, N]; of partials with levels more.

    These have [2 H E + E + R + 1, N]: the E `note_envelopes` before the noises, which they may shape, and as last row
    the `deterministic_part`, one sample early: a network is given the inputs before the sample that it plays.
    """
    noise = noises(start, stop, n_noises, events.sample_rate_hz, seed)
    if partials.levels is None:
        return np.concatenate([oscillators(events, start, stop, partials, envelopes, n_partials), noise])
    waves, together, total = _source(events, start, stop + 1, partials, envelopes, n_partials)
    return np.concatenate([waves[:, :-1], together[:, :-1], noise, total[None, 1:]])


def _sounding(
    events: RollEvents, start: int, stop: int, partials: Partials, envelopes: int
) -> Iterator[tuple[int, int, int, np.ndarray]]:
    """Of each event heard in the slice: pitch, onset, its first sample there, the envelopes' amplitudes on [E, n]."""
    rate = events.sample_rate_hz
    decay = int(to_samples(OSCILLATOR_DECAY_S, rate))
    tails = oscillator_tails(partials, envelopes, rate)
    speaks = int(to_samples(ATTACKS_S[-1], rate))
    for pitch, onset, release in _events_within(events, start, stop, tails):
        first, last = max(onset, start), min(release + int(tails[pitch]), stop)
        if last <= first:
            continue
        time = np.arange(first, last)
        amplitudes = np.zeros((envelopes, len(time)), dtype=np.float32)
        up = np.maximum(time - release, 0)
        if partials.releases_s is None:
            amplitudes[0] = np.maximum(1.0 - up / decay, 0.0)
        else:
            falling = up / (partials.releases_s[pitch] * rate)
            amplitudes[0] = np.where(falling < RINGS_OUT, np.exp(-falling), 0.0)
        for envelope, (down_s, up_s) in zip(amplitudes[1:], ENVELOPES_S, strict=False):
            rings = slice(0, max(0, release + math.ceil(RINGS_OUT * up_s * rate) - first))
            along = np.minimum(time[rings], release) - onset
            envelope[rings] = np.exp(along * (-1 / (down_s * rate)) + up[rings] * (-1 / (up_s * rate)))
        if partials.attacks is not None:
            early = slice(0, max(0, onset + speaks - first))
            amplitudes[:, early] *= np.interp((time[early] - onset) / rate, ATTACKS_S, partials.attacks[pitch])
        yield pitch, onset, first, amplitudes


def _events_within(events: RollEvents, start: int, stop: int, tails: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Pitch, onset and release of the events that, with their keys' tails [128] after the release, touch the slice."""
    n_begun = np.searchsorted(events.onset, stop)
    for index in np.flatnonzero(events.release[:n_begun] + tails[events.pitch[:n_begun]] > start):
        yield int(events.pitch[index]), int(events.onset[index]), int(events.release[index])
