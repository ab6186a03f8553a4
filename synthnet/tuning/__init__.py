"""What of an instrument's sound is the same in all notes of a key, measured on its recordings before training.

Oscillators that have its partials sound like the instrument in phase, too, as far as its notes begin alike: a sampled
one's do, and a hammer always pushes. What does not agree is as good as any other phase. At their levels, faded in and
released as they are, and with the modes of the body, the partials are what is deterministic in a sound (Serra and Smith
1990); a network learns the rest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from synthnet.corpus import Corpus
from synthnet.roll import FUNDAMENTALS_HZ, HIGHEST_PARTIAL, Partials
from synthnet.tuning.envelopes import measure_attacks, measure_releases, without_attacks
from synthnet.tuning.law import fletcher_cents
from synthnet.tuning.modes import measure_modes
from synthnet.tuning.partials import (
    AGREEING_S,
    WINDOW_S,
    agreed,
    measure_levels,
    nearest_keys,
    note_windows,
    training_recordings,
)


def measure_partials(corpus: Corpus, multiples: Sequence[float]) -> Partials:
    """The H partials of each key, near these multiples of its fundamental, then `N_MODES` modes, in the training notes.

    Keys that are never heard have frequencies and releases between their neighbours', modes at the same Hz as the
    nearest key, and else what that has. A partial that is never loud enough is where Fletcher's law has it, and where
    nothing is found at all, at its multiple.
    """
    expected = np.asarray(multiples, dtype=np.float64)
    rate, recordings = corpus.sample_rate_hz, training_recordings(corpus)
    ratios = expected * 2 ** (fletcher_cents(recordings, expected, rate) / 1200)
    phases = np.zeros_like(ratios)
    heard = note_windows(recordings, rate)
    for key, windows in heard.items():
        key_hz = FUNDAMENTALS_HZ[key]
        below = int((ratios[key] * key_hz < HIGHEST_PARTIAL * rate).sum())
        early = windows.where(windows.times_s < AGREEING_S - WINDOW_S)
        hz, turns = agreed(early, ratios[key, :below] * key_hz, rate)
        ratios[key, :below], phases[key, :below] = hz / key_hz, turns
    if heard:
        phases = phases[nearest_keys(heard)]
    levels = measure_levels(heard, ratios, rate)
    found = Partials(*(values.astype(np.float32) for values in (ratios, phases, levels)))
    releases_s = measure_releases(recordings, found, rate)
    attacks = measure_attacks(recordings, dataclasses.replace(found, releases_s=releases_s.astype(np.float32)), rate)
    modes = measure_modes(heard, ratios, rate)
    ratios, phases, levels = (
        np.concatenate(both, axis=1) for both in zip((ratios, phases, levels), modes, strict=True)
    )
    full = without_attacks(levels, attacks)
    return Partials(*(values.astype(np.float32) for values in (ratios, phases, full, releases_s, attacks)))
