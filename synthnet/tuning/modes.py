"""What knocks with every note, off its partials: modes of a guitar's body or of the frame of a piano."""

from __future__ import annotations

import numpy as np
from scipy.signal import find_peaks

from synthnet.roll import HIGHEST_PARTIAL, KNOTS_S, N_KEYS, N_MODES, SILENT_LEVEL, fundamental_hz
from synthnet.tuning.partials import EDGES_S, HOP_S, WINDOW_S, Windows, agreed, kernels, nearest_keys

MODES_S, MODE_CENTS = 0.1, 60.0  # over which modes agree; within so many cents of a peak
LOWEST_MODE_HZ, OFF_PARTIALS_HZ, MODES_APART_HZ = 30.0, 35.0, 12.0
FEWEST_WINDOWS = 5


def measure_modes(heard: Windows, ratios: np.ndarray, sample_rate_hz: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What else begins alike in all notes of a key, off its partials [128, H]: `N_MODES` of the body, the loudest.

    Peaks of the mean spectrum of the first windows, in which other notes cancel: frequency and phase are what these
    windows agree on, levels the medians of what is in phase with that, less its standard error.

    Returns:
        Ratios and phases [128, N_MODES] and levels [128, N_MODES, J], as in `Partials`; ratio 0 where there is none.
    """
    shape = (N_KEYS, N_MODES)
    modes_hz, phases, levels = np.zeros(shape), np.zeros(shape), np.full((*shape, len(KNOTS_S)), SILENT_LEVEL)
    for key, (times_s, windows) in heard.items():
        early = times_s < MODES_S
        peaks_hz = _common_peaks(times_s, windows, ratios[key] * fundamental_hz(key), sample_rate_hz)
        n = len(peaks_hz)
        if not n:
            continue
        hz, turns = agreed(times_s[early], windows[early], peaks_hz, sample_rate_hz, MODE_CENTS)
        in_phase = np.exp(-2j * np.pi * (times_s[:, None] * hz + turns - 0.25))
        spectra = windows @ kernels(hz, windows.shape[1], sample_rate_hz) * (2 / np.hanning(windows.shape[1]).sum())
        amplitudes = (spectra * in_phase).real
        knots = np.searchsorted(EDGES_S, times_s + WINDOW_S / 2, side="right") - 1
        for knot in np.unique(knots):
            some = amplitudes[knots == knot]
            middle = np.median(some, axis=0)
            error = 1.25 * 1.48 * np.median(np.abs(some - middle), axis=0) / np.sqrt(len(some))
            if len(some) >= FEWEST_WINDOWS:
                levels[key, :n, knot] = np.log(np.maximum(middle - error, np.exp(SILENT_LEVEL)))
        modes_hz[key, :n], phases[key, :n] = hz, turns
    if not heard:
        return modes_hz, phases, levels
    nearest = nearest_keys(heard)
    fundamentals_hz = np.array([fundamental_hz(key) for key in range(N_KEYS)])[:, None]
    return modes_hz[nearest] / fundamentals_hz, phases[nearest], levels[nearest]


def _common_peaks(times_s: np.ndarray, windows: np.ndarray, partials_hz: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Frequencies of at most N_MODES highest peaks, off the partials, that notes of a key have in common early on."""
    n_fft = 1 << int(np.ceil(np.log2(4 * windows.shape[1])))
    hz = np.fft.rfftfreq(n_fft, 1 / sample_rate_hz)
    common = np.zeros(len(hz))
    for number in range(2):
        spectra = np.fft.rfft(windows[np.round(times_s / HOP_S) == number], n_fft, axis=1)
        if len(spectra):
            common += np.abs((spectra * (np.abs(spectra) + 1e-6) ** -0.5).mean(axis=0)) ** 2
    allowed = (hz > LOWEST_MODE_HZ) & (hz < HIGHEST_PARTIAL * sample_rate_hz)
    allowed &= (np.abs(hz[:, None] - partials_hz) > OFF_PARTIALS_HZ).all(axis=1)
    common[~allowed] = 0.0
    tops, _ = find_peaks(common, distance=max(1, round(MODES_APART_HZ / hz[1])))
    return hz[np.sort(tops[np.argsort(-common[tops])[:N_MODES]])]
