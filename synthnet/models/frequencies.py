"""Frequencies of an instrument's partials, measured in its recordings: detuning, stretch, and the ratios of bars.

Notes are measured in their steady part: the peaks of each spectrum, but for those of other notes. Three things come
out, all that a harmonic instrument is not taught by gradients:

- `cents` [128]: how far each key is from equal temperament at A4 = 440 Hz;
- `stretch` [128]: inharmonicity B of strings, f_h = h f_1 sqrt((1 + B h^2) / (1 + B)) (Fletcher 1964, written so that
  the first partial keeps its frequency);
- `ratios` [H]: 1, 2, 3, ... for strings, reeds and pipes; for bars and bells the frequencies of their modes relative to
  the key, the same for all keys.

Keys that were not heard take the values of the nearest one that was.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, median_filter

FFT_SAMPLES = 1 << 17
SKIP_S, LONGEST_S = 0.06, 1.5  # of a note: its attack, and where the window ends
SHORTEST_S, SOFTEST = 0.2, 30  # notes to measure
RING_S = 0.3  # after its release a note is not gone yet
MOST_OTHERS = 3  # notes that may sound with a note to be measured
CLEAR_CENTS = 60.0  # from the partials of other notes
MEASURED = 20  # partials
FEWEST_ORDERS = 6  # of them that tell a stretch
HARMONIC_SHARE = 0.7  # of the peaks' power near harmonics: below it the instrument is a bar or a bell
STRETCHES = np.r_[0.0, np.geomspace(1e-5, 5e-3, 100)]


class Frequencies(NamedTuple):
    """What was measured; see the module."""

    cents: NDArray[np.float64]
    stretch: NDArray[np.float64]
    ratios: NDArray[np.float64]


class Window(NamedTuple):
    """The samples of a note to be measured, and the other keys that sound in them."""

    pitch: int
    start: int
    stop: int
    others: tuple[int, ...]


class Peaks(NamedTuple):
    """Of one note: its key, whether it sounds alone, and the frequencies and amplitudes of its spectrum's peaks."""

    pitch: int
    alone: bool
    hz: NDArray[np.float64]
    amplitude: NDArray[np.float64]


def key_hz(pitch: NDArray | int) -> NDArray:
    """Fundamental of a MIDI key, in equal temperament at A4 = 440 Hz."""
    return 440.0 * 2.0 ** ((np.asarray(pitch) - 69) / 12)


def steady_windows(pitch: NDArray, velocity: NDArray, onset: NDArray, release: NDArray, rate: int) -> list[Window]:
    """The steady parts of the notes [N] (onset and release in samples) that are loud and long enough to be measured."""
    skip, ring = int(SKIP_S * rate), int(RING_S * rate)
    found = []
    for i in np.flatnonzero((release - onset > (SKIP_S + SHORTEST_S) * rate) & (velocity >= SOFTEST)):
        start, stop = onset[i] + skip, min(release[i], onset[i] + skip + int(LONGEST_S * rate))
        sounding = (onset < stop) & (release + ring > start)
        others = np.unique(pitch[sounding & (pitch != pitch[i])])
        if len(others) <= MOST_OTHERS:
            found.append(Window(int(pitch[i]), int(start), int(stop), tuple(others.tolist())))
    return found


def note_peaks(samples: NDArray, window: Window, rate: int) -> Peaks:
    """Peaks of a note's spectrum within 60 dB of the highest, but for those where partials of other keys may lie."""
    x = samples[window.start : window.stop]
    spectrum = np.abs(np.fft.rfft(x * np.hanning(len(x)), FFT_SAMPLES)) / len(x)
    width = max(1, round(2 * FFT_SAMPLES / len(x)))  # of the Hann window's main lobe, to each side
    highest = maximum_filter1d(spectrum, 2 * width + 1)
    at = np.flatnonzero((spectrum >= highest) & (spectrum > 1e-3 * spectrum.max()))
    at = at[(at > 0) & (at < len(spectrum) - 1)]
    a, b, c = (np.log(np.maximum(spectrum[at + k], 1e-12)) for k in (-1, 0, 1))
    shift = 0.5 * (a - c) / np.minimum(a - 2 * b + c, -1e-9)
    hz, amplitude = (at + shift) * rate / FFT_SAMPLES, spectrum[at]
    for other in window.others:
        order = np.maximum(np.round(hz / key_hz(other)), 1)
        free = np.abs(1200 * np.log2(hz / (order * key_hz(other)))) > CLEAR_CENTS
        hz, amplitude = hz[free], amplitude[free]
    return Peaks(window.pitch, not window.others, hz, amplitude)


def measure_frequencies(notes: Iterable[Peaks], partials: int) -> Frequencies:
    """Frequencies of at most so many partials, from the peaks of many notes."""
    notes = [note for note in notes if len(note.hz)]
    if not notes:
        return Frequencies(np.zeros(128), np.zeros(128), np.arange(1.0, partials + 1))
    alone = [note for note in notes if note.alone]
    if alone and np.median([_harmonic_share(note) for note in alone]) < HARMONIC_SHARE:
        ratios = _modes(alone, partials)
        return Frequencies(
            fill_keys({k: _key_cents(v, ratios) for k, v in _by_key(alone).items()}), np.zeros(128), ratios
        )
    cents, stretch, gain = {}, {}, []
    for pitch, group in _by_key(notes).items():
        orders, off = _harmonics(group)
        if not len(orders):
            continue
        curves = 600 * np.log2((1 + STRETCHES[:, None] * orders**2) / (1 + STRETCHES[:, None]))  # [S, M]
        residual = off - curves
        middle = np.median(residual, axis=1, keepdims=True)
        error = np.abs(residual - middle).mean(axis=1)
        best = int(error.argmin()) if len(orders) >= FEWEST_ORDERS else 0
        cents[pitch] = float(middle[best, 0])
        if len(orders) >= FEWEST_ORDERS:
            stretch[pitch] = float(STRETCHES[best])
            gain.append(error[0] - error[best])
    if not gain or np.median(gain) < 1.0:  # cent: nothing is stretched
        cents = {k: float(np.median(_harmonics(v)[1])) for k, v in _by_key(notes).items() if len(_harmonics(v)[0])}
        return Frequencies(fill_keys(cents), np.zeros(128), np.arange(1.0, partials + 1))
    smooth = median_filter(fill_keys(stretch), 7, mode="nearest")  # B varies little from string to string
    return Frequencies(fill_keys(cents), smooth, np.arange(1.0, partials + 1))


def _by_key(notes: Iterable[Peaks]) -> dict[int, list[Peaks]]:
    groups: defaultdict[int, list[Peaks]] = defaultdict(list)
    for note in notes:
        groups[note.pitch].append(note)
    return groups


def _harmonic_share(note: Peaks) -> float:
    """Share of the peaks' power within a third of a semitone below, or twice that and a stretch above, a harmonic."""
    order = np.maximum(np.round(note.hz / key_hz(note.pitch)), 1)
    off = 1200 * np.log2(note.hz / (order * key_hz(note.pitch)))
    near = np.abs(off) < 35 + 0.4 * order
    power = note.amplitude**2
    return float(power[near].sum() / power.sum())


def _harmonics(group: list[Peaks]) -> tuple[NDArray, NDArray]:
    """Orders found and their median deviations in cents, of one key's notes; the strongest peak near each is taken."""
    found: defaultdict[int, list[float]] = defaultdict(list)
    for note in group:
        off = 1200 * np.log2(np.maximum(note.hz, 1.0) / key_hz(note.pitch))
        for order in range(1, MEASURED + 1):
            near = np.abs(off - 1200 * np.log2(order) - 0.3 * order**2) < 40 + 0.3 * order**2
            if order > 1:  # never as far as half way to the next
                near &= np.abs(off - 1200 * np.log2(order)) < 0.45 * 1200 * np.log2(1 + 1 / order)
            if near.any():
                best = np.flatnonzero(near)[note.amplitude[near].argmax()]
                found[order].append(float(off[best] - 1200 * np.log2(order)))
    orders = np.array(sorted(found), dtype=np.float64)
    return orders, np.array([np.median(found[int(order)]) for order in orders])


def _modes(notes: list[Peaks], partials: int) -> NDArray:
    """Ratios to the key that many notes share, lowest first: peaks of a histogram 10 cents wide."""
    ratio = np.concatenate([1200 * np.log2(np.maximum(n.hz, 1.0) / key_hz(n.pitch)) for n in notes])
    weight = np.concatenate([np.log10(1 + 1e3 * n.amplitude / n.amplitude.max()) for n in notes])
    edges = np.arange(-1300, 7201, 10.0)
    count = np.histogram(ratio, edges, weights=weight)[0]
    count = np.convolve(count, [0.5, 1, 1, 0.5], "same")
    order = np.argsort(-count)
    chosen: list[float] = []
    for i in order:
        centre = edges[i] + 5
        if count[i] < 0.15 * count.max() or len(chosen) == partials:
            break
        if all(abs(centre - other) > 60 for other in chosen):
            near = np.abs(ratio - centre) < 25
            chosen.append(float(np.median(ratio[near])))
    return 2.0 ** (np.sort(np.array(chosen)) / 1200)


def _key_cents(group: list[Peaks], ratios: NDArray) -> float:
    """Median deviation of a key's strongest mode peaks from the ratios."""
    off = []
    for note in group:
        log = 1200 * np.log2(np.maximum(note.hz, 1.0) / key_hz(note.pitch))
        for ratio in 1200 * np.log2(ratios):
            near = np.abs(log - ratio) < 40
            if near.any():
                off.append((float(log[near][note.amplitude[near].argmax()] - ratio), note.amplitude[near].max()))
    if not off:
        return 0.0
    strong = max(a for _, a in off)
    return float(np.median([cents for cents, a in off if a > 0.1 * strong]))


def fill_keys(values: dict[int, float]) -> NDArray:
    """[128], keys without a value take the nearest one's."""
    if not values:
        return np.zeros(128)
    keys = np.array(sorted(values))
    return np.array([values[int(keys[np.abs(keys - key).argmin()])] for key in range(128)])
