"""Frequencies of an instrument's partials, measured in its recordings: all that a harmonic instrument does not learn.

- `cents` [128]: how far each key is from equal temperament at A4 = 440 Hz;
- `stretch` [128]: inharmonicity B of strings (Fletcher 1964), f_h = h f_1 sqrt((1 + B h^2) / (1 + B));
- `ratios` [H]: 1, 2, 3, ... for strings, reeds and pipes; for bars and bells the frequencies of their modes relative to
  the key, the same for all keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, median_filter

from synthnet.models.envelopes import N_KEYS, Notes, fill_keys

FFT_SAMPLES = 1 << 17
SKIP_S, LONGEST_S = 0.06, 1.5  # of a note: its attack, and where the window ends
SHORTEST_S, SOFTEST, MOST_OTHERS = 0.2, 30, 3  # of notes to measure, and how many may sound with them
RING_S, CLEAR_CENTS = 0.3, 60.0  # a note rings on after its release; distance from the partials of other notes
MEASURED, FREE_ORDERS, TRACKING_CENTS = 20, 4, 30.0  # partials; those above 4 are looked for where those below lead
FEWEST_ORDERS, LEAST_GAIN = 6, 1.0  # partials that tell a stretch, and cents that it has to explain
HARMONIC_SHARE = 0.7  # of the peaks' power near harmonics: below it the instrument is a bar or a bell
STRETCHES = np.r_[0.0, np.geomspace(1e-5, 5e-3, 300)]


class Peaks(NamedTuple):
    """Of one note: its key, whether it sounds alone, and its spectrum's peaks, in cents from the key."""

    pitch: int
    alone: bool
    cents: NDArray[np.float64]
    amplitude: NDArray[np.float64]


def find_peaks(samples: NDArray, notes: Notes, rate: int) -> list[Peaks]:
    """Peaks of each note that is loud and long enough, in its steady part."""
    skip, ring = int(SKIP_S * rate), int(RING_S * rate)
    (pitch, velocity, onset, release), found = notes[:4], []
    for i in np.flatnonzero((release - onset > (SKIP_S + SHORTEST_S) * rate) & (velocity >= SOFTEST)):
        start, stop = onset[i] + skip, min(release[i], onset[i] + skip + int(LONGEST_S * rate))
        others = np.unique(pitch[(onset < stop) & (release + ring > start) & (pitch != pitch[i])])
        if len(others) <= MOST_OTHERS:
            found.append(_peaks(samples[start:stop], int(pitch[i]), others, rate))
    return [note for note in found if len(note.cents)]


def _peaks(x: NDArray, pitch: int, others: NDArray, rate: int) -> Peaks:
    """Peaks within 60 dB of the highest, but for those where partials of other keys may lie."""
    spectrum = np.abs(np.fft.rfft(x * np.hanning(len(x)), FFT_SAMPLES)) / len(x)
    width = max(1, round(2 * FFT_SAMPLES / len(x)))  # of the Hann window's main lobe, to each side
    highest = maximum_filter1d(spectrum, 2 * width + 1)
    at = 1 + np.flatnonzero((spectrum >= highest)[1:-1] & (spectrum > 1e-3 * spectrum.max())[1:-1])
    a, b, c = (np.log(np.maximum(spectrum[at + k], 1e-12)) for k in (-1, 0, 1))
    shift = 0.5 * (a - c) / np.minimum(a - 2 * b + c, -1e-9)
    cents = 1200 * np.log2((at + shift) * rate / FFT_SAMPLES / 440) + 6900  # from MIDI key 0
    free = (np.abs(_beside_harmonic(cents - 100 * others[:, None])) > CLEAR_CENTS).all(axis=0)
    return Peaks(pitch, not len(others), (cents - 100 * pitch)[free], spectrum[at][free])


def _beside_harmonic(cents: NDArray) -> NDArray:
    """How many cents intervals from a key lie above its nearest harmonic."""
    return cents - 1200 * np.log2(np.maximum(np.round(2 ** (cents / 1200)), 1))


def measure_frequencies(notes: Sequence[Peaks], partials: int) -> tuple[NDArray, NDArray, NDArray]:
    """Cents, stretch and the ratios of at most so many partials, from the peaks of many notes."""
    alone = [note for note in notes if note.alone]
    bars = len(alone) and np.median([_harmonic_share(note) for note in alone]) < HARMONIC_SHARE
    heard = alone if bars else notes
    groups = {pitch: [note for note in heard if note.pitch == pitch] for pitch in {note.pitch for note in heard}}
    if bars:
        ratios = _modes(heard, partials)
        return fill_keys({key: _mode_cents(group, ratios) for key, group in groups.items()}), np.zeros(N_KEYS), ratios
    tracks = {pitch: track for pitch, group in groups.items() if len(track := _track(group))}
    cents, stretch = {pitch: float(np.median(track[:, 1])) for pitch, track in tracks.items()}, np.zeros(N_KEYS)
    fits = {pitch: _fit(track) for pitch, track in tracks.items() if len(track) >= FEWEST_ORDERS}
    if fits and np.median([gain for _, _, gain in fits.values()]) >= LEAST_GAIN:
        cents |= {pitch: middle for pitch, (_, middle, _) in fits.items()}
        # B varies little from string to string.
        stretch = median_filter(fill_keys({pitch: b for pitch, (b, _, _) in fits.items()}), 7, mode="nearest")
    return fill_keys(cents), stretch, np.arange(1.0, partials + 1)


def _harmonic_share(note: Peaks) -> float:
    """Share of the peaks' power near a harmonic: within some 40 cents of it, more for high ones."""
    near = np.abs(_beside_harmonic(note.cents)) < 35 + 0.4 * np.maximum(2 ** (note.cents / 1200), 1)
    return float((note.amplitude[near] ** 2).sum() / (note.amplitude**2).sum())


def _strongest(notes: Sequence[Peaks], low: float, high: float) -> NDArray:
    """Cents and amplitude [M, 2] of the strongest peak between two limits in cents, of each note that has one there."""
    within = [(note, np.flatnonzero((note.cents > low) & (note.cents < high))) for note in notes]
    best = [(note, near[note.amplitude[near].argmax()]) for note, near in within if len(near)]
    return np.array([(note.cents[i], note.amplitude[i]) for note, i in best]).reshape(-1, 2)


def _track(group: Sequence[Peaks]) -> NDArray:
    """Orders of one key's partials and their deviations in cents, [M, 2]; each is looked for where those below lead."""
    found: list[tuple[float, float]] = []
    for order in range(1, MEASURED + 1):
        low, high = -40.0, 40 + 0.6 * order**2
        if order > FREE_ORDERS and found:
            b, middle, _ = _fit(np.array(found))
            expected = middle + float(_stretched(b, order))
            low, high = expected - TRACKING_CENTS, expected + TRACKING_CENTS
        octaves = 1200 * np.log2(order)
        if len(peaks := _strongest(group, octaves + low, octaves + high)):
            found.append((order, float(np.median(peaks[:, 0])) - octaves))
    return np.array(found)


def _stretched(b: NDArray | float, order: NDArray | int) -> NDArray:
    """How far a string's partials are above the multiples of its first one, in cents."""
    return 600 * np.log2((1 + b * np.square(order)) / (1 + b))


def _fit(track: NDArray) -> tuple[float, float, float]:
    """Stretch and detuning in cents that fit best, and how many cents the mean error is less than without stretch."""
    residual = track[:, 1] - _stretched(STRETCHES[:, None], track[:, 0])  # [S, M]
    middle = np.median(residual, axis=1)
    error = np.abs(residual - middle[:, None]).mean(axis=1)
    best = int(error.argmin())
    return float(STRETCHES[best]), float(middle[best]), float(error[0] - error[best])


def _modes(notes: Sequence[Peaks], partials: int) -> NDArray:
    """Ratios to the key that many notes share, lowest first: peaks of a histogram 10 cents wide."""
    cents = np.concatenate([note.cents for note in notes])
    weight = np.concatenate([np.log10(1 + 1e3 * note.amplitude / note.amplitude.max()) for note in notes])
    edges = np.arange(-1300, 7201, 10.0)
    count = np.convolve(np.histogram(cents, edges, weights=weight)[0], [0.5, 1, 1, 0.5], "same")
    chosen: list[float] = []
    for i in np.argsort(-count):
        if count[i] < 0.15 * count.max() or len(chosen) == partials:
            break
        if all(abs(edges[i] + 5 - other) > 60 for other in chosen):
            chosen.append(float(np.median(cents[np.abs(cents - edges[i] - 5) < 25])))
    return 2.0 ** (np.sort(chosen) / 1200)


def _mode_cents(group: Sequence[Peaks], ratios: NDArray) -> float:
    """Median deviation of a key's strongest mode peaks from the ratios."""
    modes = 1200 * np.log2(ratios)
    found = np.concatenate([_strongest(group, mode - 40, mode + 40) - (mode, 0) for mode in modes])
    strong = found[:, 1] > 0.1 * found[:, 1].max(initial=0)
    return float(np.median(found[strong, 0])) if strong.any() else 0.0
