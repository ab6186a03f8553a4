"""What is measured in an instrument's recordings before its network learns the rest.

- `cents` [128]: deviation of each key from equal temperament at A4 = 440 Hz;
- `stretch` [128]: inharmonicity B of strings (Fletcher 1964), f_h = h f_1 sqrt((1 + B h^2) / (1 + B));
- `ratios` [H]: 1, 2, 3, ... for strings, reeds and pipes; for bars and bells the frequencies of their modes relative to
  the key, those of any key: each key's levels choose among them;
- `release_s` [128]: time in seconds until a note has died away after its release;
- `nearest` [128]: the recorded key nearest to each key.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, median_filter

from synthnet.models.config import HarmonicConfig
from synthnet.models.envelopes import LONGEST_RELEASE_S, N_KEYS, TABLE_SCALE, WOBBLE_S, Notes

# Peaks of a note's spectrum.
FFT_SAMPLES = 1 << 17
SKIP_S, LONGEST_S = 0.06, 1.5  # of a note: its attack, and where the window ends
SHORTEST_S, SOFTEST, MOST_OTHERS = 0.2, 30, 3  # of notes to measure; how many may sound with them
RING_S, CLEAR_CENTS = 0.3, 60.0  # a note rings on after its release; distance from the partials of other notes

# Partials of a key.
TRACKED, FREE_ORDERS, TRACKING_CENTS = 20, 4, 30.0  # partials above the fourth are sought where those below lead
FEWEST_ORDERS, LEAST_GAIN = 6, 1.0  # partials that a stretch needs; cents of error that it has to explain
FEWEST_LONE = 10  # notes without others that can show a bar or a bell: a transcriber may have erred in one or two
HARMONIC_SHARE = 0.7  # of the peaks' power near harmonics: below it the instrument is a bar or a bell
MODE_SHARE = 0.07  # of the commonest mode's count: a sampled bar has modes that only three or four keys share
STRETCHES = np.r_[0.0, np.geomspace(1e-5, 5e-3, 300)]

# Releases.
WINDOW_S = 0.025  # of levels after a release
FALL_DB = 50.0  # a note that has fallen so far is gone; the fade takes 20% longer
SHORTEST_RELEASE_S, UNKNOWN_RELEASE_S = 0.1, 1.0
CLEAR_S = 1.0  # before a release no other note has ended


def measure(
    recordings: Sequence[tuple[NDArray, Notes]], sample_rate_hz: int, config: HarmonicConfig
) -> tuple[HarmonicConfig, dict[str, NDArray]]:
    """The config with the partials and the longest note found, and the weights named in `MEASURED`.

    A bar or a bell also gets `gain.weight`, where its training begins (`mode_gains`).

    Args:
        recordings: samples, int16 [n], and notes of each piece.
    """
    peaks = [note for samples, notes in recordings for note in find_peaks(samples, notes, sample_rate_hz)]
    lengths = [(notes.release - notes.onset).max(initial=0) / sample_rate_hz for _, notes in recordings]
    keys = np.unique(np.concatenate([notes.pitch for _, notes in recordings]))
    cents, stretch, ratios = measure_frequencies(peaks, config.partials)
    measured = {"cents": cents, "stretch": stretch, "ratios": ratios}
    measured["release_s"] = release_times(recordings, sample_rate_hz)
    weights = {name: value.astype(np.float32) for name, value in measured.items()}
    weights["nearest"] = fill_keys({key: key for key in keys.tolist()}).astype(np.int32)
    if ratios[-1] != len(ratios):
        weights["gain.weight"] = np.pad(mode_gains(peaks, ratios), ((0, 0), (0, config.bands))).astype(np.float32)
    return dataclasses.replace(config, partials=len(ratios), longest_s=round(max(WOBBLE_S, *lengths), 3)), weights


def fill_keys(values: Mapping[int, float]) -> NDArray:
    """Values of all keys [128]; those that have none take the nearest one's, or 0 if there is none at all."""
    keys = np.array(sorted(values))
    return np.array([values[int(keys[np.abs(keys - key).argmin()])] if values else 0.0 for key in range(N_KEYS)])


def release_times(recordings: Sequence[tuple[NDArray, Notes]], rate: int) -> NDArray:
    """`release_s` [128] of the module's docstring, 0.1 to 3 s."""
    step, by_key = round(WINDOW_S * rate), defaultdict(list)
    for samples, notes in recordings:
        for i in np.flatnonzero((notes.velocity >= 40) & (notes.release - notes.onset > 2 * step)):
            off, others = notes.release[i], np.arange(len(notes.pitch)) != i
            following = notes.onset[notes.onset > notes.onset[i]].min(initial=len(samples))
            before = notes.release[others & (notes.onset <= notes.onset[i])].max(initial=-rate * 10)
            stop = min(following, off + round(LONGEST_RELEASE_S * rate))
            if stop - off < 6 * step or before > off - CLEAR_S * rate:
                continue
            x = samples[off - step : stop].astype(np.float64)
            level = 10 * np.log10((x[: len(x) // step * step].reshape(-1, step) ** 2).mean(axis=1) + 1e-3)
            fallen = level[0] - level
            if (fallen > FALL_DB).any():
                time_s = (fallen > FALL_DB).argmax() * WINDOW_S
            else:
                time_s = FALL_DB / max(np.polyfit(np.arange(len(fallen)) * WINDOW_S, fallen, 1)[0], 1.0)
            by_key[int(notes.pitch[i])].append(time_s)
    if not by_key:
        return np.full(N_KEYS, UNKNOWN_RELEASE_S)
    times = median_filter(fill_keys({key: float(np.median(v)) for key, v in by_key.items()}), 9, mode="nearest")
    return np.clip(1.2 * times, SHORTEST_RELEASE_S, LONGEST_RELEASE_S)


class Peaks(NamedTuple):
    """A note's key, whether it sounds alone, and its spectrum's peaks, in cents from the key."""

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
    """Peaks within 60 dB of the highest, without those where partials of other keys may lie."""
    spectrum = np.abs(np.fft.rfft(x * np.hanning(len(x)), FFT_SAMPLES)) / len(x)
    width = max(1, round(2 * FFT_SAMPLES / len(x)))  # of the Hann window's main lobe, to each side
    highest = maximum_filter1d(spectrum, 2 * width + 1)
    at = 1 + np.flatnonzero((spectrum >= highest)[1:-1] & (spectrum > 1e-3 * spectrum.max())[1:-1])
    a, b, c = (np.log(np.maximum(spectrum[at + k], 1e-12)) for k in (-1, 0, 1))
    shift = 0.5 * (a - c) / np.minimum(a - 2 * b + c, -1e-9)
    cents = 1200 * np.log2((at + shift) * rate / FFT_SAMPLES / 440) + 6900  # from MIDI key 0
    free = (np.abs(_from_harmonic(cents - 100 * others[:, None])) > CLEAR_CENTS).all(axis=0)
    return Peaks(pitch, not len(others), (cents - 100 * pitch)[free], spectrum[at][free])


def _from_harmonic(cents: NDArray) -> NDArray:
    """Cents from an interval's nearest harmonic to it; intervals are in cents from a key."""
    return cents - 1200 * np.log2(np.maximum(np.round(2 ** (cents / 1200)), 1))


def measure_frequencies(notes: Sequence[Peaks], partials: int) -> tuple[NDArray, NDArray, NDArray]:
    """`cents`, `stretch` and at most `partials` `ratios` of the module's docstring, from the peaks of many notes."""
    alone = [note for note in notes if note.alone]
    bars = len(alone) >= FEWEST_LONE and np.median([_harmonic_share(note) for note in alone]) < HARMONIC_SHARE
    groups = defaultdict(list)
    for note in alone if bars else notes:
        groups[note.pitch].append(note)
    if bars:
        ratios = _modes(alone, partials)
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
    near = np.abs(_from_harmonic(note.cents)) < 35 + 0.4 * np.maximum(2 ** (note.cents / 1200), 1)
    return float((note.amplitude[near] ** 2).sum() / (note.amplitude**2).sum())


def _strongest(notes: Sequence[Peaks], low: float, high: float) -> NDArray:
    """Cents and amplitude [M, 2] of the strongest peak between two limits in cents, for each note that has one."""
    within = [(note, np.flatnonzero((note.cents > low) & (note.cents < high))) for note in notes]
    best = [(note, near[note.amplitude[near].argmax()]) for note, near in within if len(near)]
    return np.array([(note.cents[i], note.amplitude[i]) for note, i in best]).reshape(-1, 2)


def _track(group: Sequence[Peaks]) -> NDArray:
    """Orders of one key's partials and their deviations in cents, [M, 2]."""
    found: list[tuple[float, float]] = []
    for order in range(1, TRACKED + 1):
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
    """The best stretch, its detuning in cents, and how many cents of mean error the stretch removes."""
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
        if count[i] < MODE_SHARE * count.max() or len(chosen) == partials:
            break
        if all(abs(edges[i] + 5 - other) > 60 for other in chosen):
            chosen.append(float(np.median(cents[np.abs(cents - edges[i] - 5) < 25])))
    return 2.0 ** (np.sort(chosen) / 1200)


def mode_gains(notes: Sequence[Peaks], ratios: NDArray) -> NDArray:
    """Log amplitudes of each key's modes relative to its strongest peak, -60 to 0 dB, as a table by key [128, H].

    Training begins there: from equal levels it loses the modes of few keys, since all other notes teach it that they
    are silent, and a partial below the noise has no gradient.
    """
    modes, levels = 1200 * np.log2(ratios), defaultdict(list)
    for note in notes:
        if note.alone:
            near = np.abs(note.cents - modes[:, None]) < 40
            amplitude = (note.amplitude * near).max(axis=1) / note.amplitude.max()
            levels[note.pitch].append(np.log(np.maximum(amplitude, 1e-3)))
    nearest = fill_keys({pitch: pitch for pitch in levels}).astype(int)
    return np.stack([np.median(levels[pitch], axis=0) for pitch in nearest.tolist()]) / TABLE_SCALE


def _mode_cents(group: Sequence[Peaks], ratios: NDArray) -> float:
    """Median deviation of a key's strongest mode peaks from the ratios."""
    modes = 1200 * np.log2(ratios)
    found = np.concatenate([_strongest(group, mode - 40, mode + 40) - (mode, 0) for mode in modes])
    strong = found[:, 1] > 0.1 * found[:, 1].max(initial=0)
    return float(np.median(found[strong, 0])) if strong.any() else 0.0
