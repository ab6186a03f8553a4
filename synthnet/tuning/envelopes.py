"""How the partials of an instrument fade in after an onset and out after a release, under other notes, too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.optimize import isotonic_regression

from synthnet.roll import (
    ATTACKS_S,
    FUNDAMENTALS_HZ,
    HIGHEST_PARTIAL,
    KNOTS_S,
    N_KEYS,
    OSCILLATOR_DECAY_S,
    SILENT_LEVEL,
    Partials,
    deterministic_part,
)
from synthnet.tuning.law import NEIGHBOURS, filled
from synthnet.tuning.partials import HOP_S, WINDOW_S, Recording, amplitudes, nearest_keys

RELEASE_WINDOWS = 8  # that are looked at after a release
STILL_LOUD = 3.5  # nats below the loudest that its key has: fainter partials are not asked
LOWEST_FALL = -1.6  # nats; below it there may be more of something else
STILL_RINGS_S = 0.5  # after its release another note does
APART_HZ = 40.0  # and its partials are at least so far from those asked
RELEASES_S = (0.005, 0.8)
ATTACK_NOTES = 32  # of a key that are looked at
SPEAKS = 16  # of ATTACKS_S, the first at which a note speaks in full
EARLY = 3  # knots of the levels whose windows hear the attack
HEARD_ENOUGH = 0.5  # of a note's amplitude, to know it from these windows


def measure_releases(recordings: Sequence[Recording], partials: Partials, rate: int) -> np.ndarray:
    """Time constants [128] with which the partials fall after the release, besides as their levels do.

    In windows after a release each partial that is not near one of another note is so far below the level that it
    would have with the key held on: the medians of a key and its neighbours lie on a line through 0 as long as they are
    above what noise and other notes leave.
    """
    falls: dict[tuple[int, int], list[np.ndarray]] = {}
    for key, number, of_partials in _falls(recordings, partials, rate):
        falls.setdefault((key, number), []).append(of_partials)
    after_s = WINDOW_S / 2 + HOP_S * np.arange(RELEASE_WINDOWS)
    releases_s = np.full(N_KEYS, np.nan)
    for key in {key for key, _ in falls}:
        near = range(key - NEIGHBOURS, key + NEIGHBOURS + 1)
        seen = [[fall for other in near for fall in falls.get((other, n), [])] for n in range(RELEASE_WINDOWS)]
        medians = np.array([np.median(np.concatenate(some)) if some else -np.inf for some in seen])
        n = max(1, int(np.argmin(np.append(medians, -np.inf) > LOWEST_FALL)))
        if medians[:n].sum() < 0:
            releases_s[key] = after_s[:n].sum() / -medians[:n].sum()
    return np.clip(filled(releases_s, OSCILLATOR_DECAY_S), *RELEASES_S)


def _falls(recordings: Sequence[Recording], partials: Partials, rate: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """Of windows after the training notes' releases: key, how many windows after, falls in nats of partials."""
    length, hop = round(WINDOW_S * rate), round(HOP_S * rate)
    window = np.hanning(length)
    hz = partials.ratios * FUNDAMENTALS_HZ[:, None]
    loudest = np.array([partials.levels_after(key, KNOTS_S).max() for key in range(N_KEYS)])
    begins = hop * np.arange(RELEASE_WINDOWS)
    for samples, events in recordings:
        for key, onset, release in zip(events.pitch, events.onset, events.release, strict=True):
            again = events.onset[(events.pitch == key) & (events.onset > onset)].min(initial=len(samples))
            starts = release + begins[release + begins + length <= again]
            if not len(starts):
                continue
            expected = partials.levels_after(key, (starts + length / 2 - onset) / rate)
            asked = (expected[:, 0] > max(loudest[key] - STILL_LOUD, SILENT_LEVEL + STILL_LOUD)) & (
                hz[key] < HIGHEST_PARTIAL * rate
            )
            others = (events.onset < starts[-1] + length) & (events.release > release - STILL_RINGS_S * rate)
            others_hz = hz[events.pitch[others & (events.pitch != key)]].ravel()
            asked[asked] = (np.abs(hz[key, asked, None] - others_hz) > APART_HZ).all(axis=1)
            if asked.any():
                windows = samples[starts[:, None] + np.arange(length)] * window
                falls = np.log(np.abs(amplitudes(windows, hz[key, asked], rate)) + 1e-6) - expected[asked].T
                yield from ((int(key), number, of_partials) for number, of_partials in enumerate(falls))


def measure_attacks(recordings: Sequence[Recording], partials: Partials, rate: int) -> np.ndarray:
    """How the partials fade in, by key: amplitudes [128, A] at ATTACKS_S, never falling, at most 1.

    The energy of notes that begin by themselves over that of their partials, relative to what it is once they speak.
    What still sounds is taken away before, sample by sample or by its energy, whichever leaves less. A note counts the
    less, the louder the others are.
    """
    block = round(float(ATTACKS_S[1] - ATTACKS_S[0]) * rate)
    span = len(ATTACKS_S) * block
    by_key: dict[int, list[np.ndarray]] = {}
    for key, begun in _single_onsets(recordings, span).items():
        for (samples, events), index in begun[:: -(-len(begun) // ATTACK_NOTES)]:
            onset = events.onset[index]
            is_it = np.arange(len(events.onset)) == index
            alone, others = events.chosen(is_it), events.chosen(~is_it)
            heard = samples[onset : onset + span].astype(np.float64)
            own, rest = (deterministic_part(notes, onset, onset + span, partials) for notes in (alone, others))
            energies = (heard**2 - rest**2, (heard - rest) ** 2, own**2, rest**2)
            by_key.setdefault(key, []).append(np.stack([part.reshape(-1, block).sum(axis=1) for part in energies]))
    attacks = np.full((N_KEYS, len(ATTACKS_S)), np.nan)
    for key, notes in by_key.items():
        heard, heard_if_in_phase, own, rest = np.stack(notes, axis=1) + 1e-9  # each [notes, A]
        weight = own / (own + rest) ** 2
        powers = [(weight * left).sum(axis=0) / (weight * own).sum(axis=0) for left in (heard, heard_if_in_phase)]
        speaking = [power[SPEAKS:].mean() for power in powers]
        if min(speaking) > 0:
            least = np.min([power / full for power, full in zip(powers, speaking, strict=True)], axis=0)
            attacks[key] = np.sqrt(np.clip(isotonic_regression(least).x, 0.0, 1.0))
            attacks[key, -1] = 1.0
    known = np.flatnonzero(np.isfinite(attacks[:, 0]))
    if not len(known):
        return np.ones_like(attacks)
    return attacks[nearest_keys(known)]


def _single_onsets(recordings: Sequence[Recording], span: int) -> dict[int, list[tuple[Recording, int]]]:
    """By key the notes that last, and for which no other begins, so many samples: recording and index of the event."""
    begun: dict[int, list[tuple[Recording, int]]] = {}
    for recording in recordings:
        samples, events = recording
        apart = np.diff(events.onset, prepend=-span, append=len(samples)) >= span
        lasts = events.release - events.onset >= span
        for index in np.flatnonzero(apart[:-1] & apart[1:] & lasts & (events.onset + span <= len(samples))):
            begun.setdefault(int(events.pitch[index]), []).append((recording, int(index)))
    return begun


def without_attacks(levels: np.ndarray, attacks: np.ndarray) -> np.ndarray:
    """Levels as they would be without the attacks, through which their first windows heard the partials."""
    in_window_s = np.linspace(0.0, WINDOW_S, 65)
    weights = np.hanning(65) / np.hanning(65).sum()
    full = levels.copy()
    for knot in reversed(range(EARLY)):  # each has one window; where too little was heard, it is as the next
        shares = np.array([np.interp(knot * HOP_S + in_window_s, ATTACKS_S, attack) @ weights for attack in attacks])
        share = shares[:, None]
        raised = levels[:, :, knot] - np.log(np.maximum(share, HEARD_ENOUGH))
        full[:, :, knot] = np.where(share < HEARD_ENOUGH, full[:, :, knot + 1], raised)
    return full
