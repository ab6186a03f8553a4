"""What knocks with every note, off its partials: modes of a guitar's body or of the frame of a piano."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.signal import find_peaks

from synthnet.roll import FUNDAMENTALS_HZ, HIGHEST_PARTIAL, KNOTS_S, N_KEYS, N_MODES, SILENT_LEVEL
from synthnet.tuning.partials import HOP_S, NoteWindows, agreed, amplitudes, nearest_keys

MODES_S, MODE_CENTS = 0.1, 60.0  # over which modes agree; within so many cents of a peak
LOWEST_MODE_HZ, OFF_PARTIALS_HZ, MODES_APART_HZ = 30.0, 35.0, 12.0
FEWEST_NOTES = 5
MEDIAN_ERROR = 1.25 * 1.48  # of a median of so many normal values, over their median deviation and sqrt(n)


def measure_modes(
    heard: Mapping[int, NoteWindows], ratios: np.ndarray, sample_rate_hz: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What else begins alike in all notes of a key, off its partials [128, H]: `N_MODES` of the body, the loudest.

    Peaks of the mean spectrum of the first windows of notes that are struck alone (of a chord the others begin alike,
    too), in which what sounded before cancels. Frequency and phase are what these windows agree on, levels the medians
    of what is in phase with that, less the median's standard error, until nothing is left. Keys with few such notes
    have the modes of the nearest other key.

    Returns:
        Ratios and phases [128, N_MODES] and levels [128, N_MODES, J], as in `Partials`; ratio 0 where there is none.
    """
    shape = (N_KEYS, N_MODES)
    modes_hz, phases, levels = np.zeros(shape), np.zeros(shape), np.full((*shape, len(KNOTS_S)), SILENT_LEVEL)
    known = []
    for key, windows in heard.items():
        alone = windows.where(windows.alone)
        if len(np.unique(alone.note)) < FEWEST_NOTES:
            continue
        known.append(key)
        peaks_hz = _common_peaks(alone, ratios[key] * FUNDAMENTALS_HZ[key], sample_rate_hz)
        early = alone.where(alone.times_s < MODES_S)
        hz, turns = agreed(early, peaks_hz, sample_rate_hz, MODE_CENTS)
        n = len(peaks_hz)
        modes_hz[key, :n], phases[key, :n] = hz, turns
        back = np.exp(-2j * np.pi * (alone.times_s[:, None] * hz + turns - 0.25))
        knots = alone.knots()
        in_phase = (amplitudes(alone.samples, hz, sample_rate_hz) * back).real
        lasting = np.ones(n, dtype=bool)
        for knot in range(len(KNOTS_S)):
            of_knot = knots == knot
            notes, which, n_windows = np.unique(alone.note[of_knot], return_inverse=True, return_counts=True)
            if len(notes) < FEWEST_NOTES:
                break
            of_notes = np.zeros((len(notes), n))
            np.add.at(of_notes, which, in_phase[of_knot])
            of_notes /= n_windows[:, None]
            middle = np.median(of_notes, axis=0)
            error = MEDIAN_ERROR * np.median(np.abs(of_notes - middle), axis=0) / np.sqrt(len(notes))
            lasting &= middle - error > np.exp(SILENT_LEVEL)
            levels[key, :n, knot][lasting] = np.log((middle - error)[lasting])
    if not known:
        return modes_hz, phases, levels
    nearest = nearest_keys(known)
    return modes_hz[nearest] / FUNDAMENTALS_HZ[:, None], phases[nearest], levels[nearest]


def _common_peaks(heard: NoteWindows, partials_hz: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Frequencies of at most N_MODES highest peaks, off the partials, that notes of a key have in common early on."""
    n_fft = 1 << int(np.ceil(np.log2(4 * heard.samples.shape[1])))
    hz = np.fft.rfftfreq(n_fft, 1 / sample_rate_hz)
    common = np.zeros(len(hz))
    for number in range(2):
        spectra = np.fft.rfft(heard.samples[np.round(heard.times_s / HOP_S) == number], n_fft, axis=1)
        if len(spectra):
            common += np.abs((spectra * (np.abs(spectra) + 1e-6) ** -0.5).mean(axis=0)) ** 2
    allowed = (hz > LOWEST_MODE_HZ) & (hz < HIGHEST_PARTIAL * sample_rate_hz)
    allowed &= (np.abs(hz[:, None] - partials_hz) > OFF_PARTIALS_HZ).all(axis=1)
    common[~allowed] = 0.0
    tops, _ = find_peaks(common, distance=max(1, round(MODES_APART_HZ / hz[1])))
    return hz[np.sort(tops[np.argsort(-common[tops])[:N_MODES]])]
