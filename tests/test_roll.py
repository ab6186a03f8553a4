"""Rolls against a loop over samples and pretty_midi's, oscillators against their closed form."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pretty_midi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthnet.instruments import BAR
from synthnet.roll import (
    ATTACKS_S,
    ENVELOPES_S,
    KNOTS_S,
    RINGS_OUT,
    Partials,
    RollEvents,
    deterministic_part,
    events_from,
    excitation,
    noises,
    note_envelopes,
    oscillator_tails,
    oscillators,
    rasterise,
    roll_events,
    to_samples,
)
from synthnet.score import Note

RATE_HZ = 16_000


def whole_roll(events: RollEvents) -> np.ndarray:
    return rasterise(events, 0, events.n_samples)


def roll_by_definition(notes: list[Note], n_samples: int, gap: int) -> np.ndarray:
    """The roll at 1 kHz from the rules, key by key and sample by sample; the times of the notes are whole ms."""
    roll = np.zeros((128, n_samples), dtype=np.uint8)
    for pitch in {note.pitch for note in notes}:
        spans = [(round(n.start_s * 1000), round(n.end_s * 1000)) for n in notes if n.pitch == pitch]
        onsets = {onset for onset, _ in spans}
        for t in range(n_samples):
            down = any(onset <= t < release for onset, release in spans)
            onset_near = any(t < onset <= t + gap for onset in onsets)
            roll[pitch, t] = t in onsets or (down and not onset_near)
    return roll


notes_on_a_millisecond_grid = st.lists(
    st.builds(
        lambda pitch, start_ms, length_ms: Note(pitch, 80, start_ms / 1000, (start_ms + length_ms) / 1000),
        st.sampled_from((0, 60, 61, 127)),
        st.integers(0, 60),
        st.integers(0, 40),
    ),
    max_size=12,
)


# ------------------------------------------------------------------------------------------ samples


def test_seconds_become_the_nearest_sample_and_halves_the_later() -> None:
    assert to_samples(1.0, RATE_HZ) == 16_000
    assert to_samples(0.0, RATE_HZ) == 0
    assert to_samples(2.5 / 16_000, RATE_HZ) == 3
    assert to_samples(2.49 / 16_000, RATE_HZ) == 2
    assert to_samples(-2.5 / 16_000, RATE_HZ) == -2
    samples = to_samples(np.array([[0.0, 0.25], [0.5, 3600.0]]), 44_100)
    assert samples.dtype == np.int64
    np.testing.assert_array_equal(samples, [[0, 11_025], [22_050, 158_760_000]])


# ------------------------------------------------------------------------------------------ events and rolls


@settings(deadline=None)
@given(notes=notes_on_a_millisecond_grid)
def test_the_roll_follows_its_definition(notes: list[Note]) -> None:
    events = roll_events(notes, 1000)
    roll = rasterise(events, 0, 120)
    np.testing.assert_array_equal(roll, roll_by_definition(notes, 120, gap=5))
    assert events.n_samples == (np.flatnonzero(roll.any(axis=0)).max(initial=-1) + 1)


def test_a_roll_without_overlaps_is_pretty_midi_s() -> None:
    # At 1024 samples a second, and times that are multiples of that, pretty_midi's truncation is exact.
    rng = np.random.default_rng(0)
    part = pretty_midi.Instrument(0)
    notes = []
    for pitch in (40, 60, 61, 100):
        now = 0
        for wait, length in rng.integers(10, 500, (20, 2)):
            start, now = now + wait, now + wait + length
            part.notes.append(pretty_midi.Note(80, pitch, start / 1024, now / 1024))
            notes.append(Note(pitch, 80, start / 1024, now / 1024))
    roll = whole_roll(roll_events(notes, 1024))
    np.testing.assert_array_equal(roll, part.get_piano_roll(fs=1024) > 0)


@settings(deadline=None)
@given(notes=notes_on_a_millisecond_grid, start=st.integers(-50, 150), length=st.integers(0, 200))
def test_any_slice_is_that_slice_of_the_whole_roll(notes: list[Note], start: int, length: int) -> None:
    events = roll_events(notes, 1000)
    whole = rasterise(events, -50, 350)
    np.testing.assert_array_equal(rasterise(events, start, start + length), whole[:, start + 50 : start + length + 50])


def test_a_struck_again_key_drops_for_five_milliseconds() -> None:
    events = roll_events([Note(60, 80, 0.0, 0.5), Note(60, 80, 0.5, 1.0)], RATE_HZ)
    np.testing.assert_array_equal(events.onset, [0, 8000])
    np.testing.assert_array_equal(events.release, [8000 - 80, 16_000])


def test_an_overlapped_key_stays_down_until_the_later_release() -> None:
    events = roll_events([Note(60, 80, 0.0, 1.0), Note(60, 80, 0.25, 0.5)], RATE_HZ)
    np.testing.assert_array_equal(events.onset, [0, 4000])
    np.testing.assert_array_equal(events.release, [4000 - 80, 16_000])


def test_events_are_in_order_of_their_onsets_then_pitches() -> None:
    notes = [Note(64, 80, 0.5, 1.0), Note(60, 80, 0.5, 1.0), Note(72, 80, 0.0, 2.0), Note(60, 80, 0.0, 0.1)]
    events = roll_events(notes, RATE_HZ)
    np.testing.assert_array_equal(events.pitch, [60, 72, 60, 64])
    np.testing.assert_array_equal(events.onset, [0, 0, 8000, 8000])
    assert {array.dtype for array in (events.pitch, events.onset, events.release)} == {np.dtype(np.int64)}
    assert events.n_samples == 32_000


def test_no_notes_make_an_empty_roll() -> None:
    events = roll_events([], RATE_HZ)
    assert events.n_samples == 0
    assert not rasterise(events, -3, 7).any()
    assert rasterise(events, -3, 7).shape == (128, 10)
    assert rasterise(events, 0, 1).dtype == np.uint8
    assert not oscillators(events, 0, 10, harmonics(8)).any()


# ------------------------------------------------------------------------------------------ oscillators


def harmonics(n: int) -> Partials:
    return Partials.of_all_keys(range(1, n + 1))


def closed_form(pitch: int, onset: int, release: int, n_samples: int, partials: Sequence[float]) -> np.ndarray:
    """One note's sines, then cosines, at 16 kHz, in double precision from the definition."""
    t = np.arange(n_samples)
    frequency_hz = 440.0 * 2.0 ** ((pitch - 69) / 12)
    amplitude = np.interp(t, [release, release + 640], [1.0, 0.0]) * (t >= onset)
    waves = np.zeros((2 * len(partials), n_samples))
    for row, multiple in enumerate(np.float32(partials).astype(float)):
        if multiple * frequency_hz < 7600.0:
            angle = 2.0 * np.pi * multiple * frequency_hz * (t - onset) / 16_000
            waves[row], waves[len(partials) + row] = amplitude * np.sin(angle), amplitude * np.cos(angle)
    return waves


@pytest.mark.parametrize("pitch", [0, 36, 69, 81, 100, 127])
@pytest.mark.parametrize("partials", [(1,), range(1, 9), BAR], ids=["one", "harmonics", "bar"])
def test_one_note_is_its_closed_form(pitch: int, partials: Sequence[float]) -> None:
    events = roll_events([Note(pitch, 80, 0.25, 1.0)], RATE_HZ)
    waves = oscillators(events, 0, 20_000, Partials.of_all_keys(partials))
    assert waves.dtype == np.float32
    np.testing.assert_allclose(waves, closed_form(pitch, 4000, 16_000, 20_000, partials), atol=1e-5)


def test_the_phase_stays_true_through_a_note_of_an_hour() -> None:
    events = roll_events([Note(69, 80, 0.0, 3600.0)], RATE_HZ)
    n = events.n_samples
    t = np.arange(n - 500, n)
    angle = 2.0 * np.pi * (440 * 8 * t % 16_000) / 16_000  # reduced in whole numbers
    waves = oscillators(events, n - 500, n, harmonics(8))
    np.testing.assert_allclose(waves[7], np.sin(angle), atol=1e-4)
    np.testing.assert_allclose(waves[15], np.cos(angle), atol=1e-4)


def test_harmonics_from_7600_hz_on_are_left_out() -> None:
    # A5 is 880 Hz: its eighth harmonic, 7040 Hz, is in, its ninth, 7920 Hz, is not.
    waves = oscillators(roll_events([Note(81, 80, 0.0, 1.0)], RATE_HZ), 0, 16_000, harmonics(10))
    np.testing.assert_array_equal(np.abs(waves).max(axis=1) > 0.5, ([True] * 8 + [False] * 2) * 2)


def test_notes_add_up_and_tails_overlap_a_struck_again_key() -> None:
    notes = [Note(60, 80, 0.0, 0.5), Note(67, 80, 0.1, 0.6), Note(60, 80, 0.5, 0.7)]
    waves = oscillators(roll_events(notes, RATE_HZ), 0, 12_000, harmonics(8))
    expected = (
        closed_form(60, 0, 8000 - 80, 12_000, range(1, 9))
        + closed_form(67, 1600, 9600, 12_000, range(1, 9))
        + closed_form(60, 8000, 11_200, 12_000, range(1, 9))
    )
    np.testing.assert_allclose(waves, expected, atol=2e-5)


def test_the_decay_ends_forty_milliseconds_after_the_release() -> None:
    waves = oscillators(roll_events([Note(60, 80, 0.0, 0.5)], RATE_HZ), 0, 9000, harmonics(8))
    np.testing.assert_allclose(np.hypot(waves[0], waves[8])[8000:8640], 1.0 - np.arange(640) / 640, atol=1e-5)
    assert not waves[:, 8640:].any()


def test_envelopes_are_their_closed_form_and_ring_out() -> None:
    onset, release, n = 4_000, 12_000, 60_000
    events = roll_events([Note(57, 80, 0.25, 0.75)], RATE_HZ)
    waves = oscillators(events, 0, n, harmonics(2), envelopes=4).reshape(4, 2, 2, n)
    np.testing.assert_array_equal(waves[0].reshape(4, n), oscillators(events, 0, n, harmonics(2)))
    t = np.arange(n)
    for number, (down_s, up_s) in enumerate(ENVELOPES_S, start=1):
        amplitude = np.exp(-(np.clip(t, onset, release) - onset) / (down_s * RATE_HZ))
        amplitude *= np.exp(-np.maximum(t - release, 0) / (up_s * RATE_HZ)) * (t >= onset)
        amplitude[release + round(RINGS_OUT * up_s * RATE_HZ) :] = 0
        angle = 2 * np.pi * np.array([[220.0], [440.0]]) * (t - onset) / RATE_HZ
        expected = amplitude * np.stack([np.sin(angle), np.cos(angle)])
        np.testing.assert_allclose(waves[number], expected, atol=1e-5)
    tail = oscillator_tails(harmonics(2), 4, RATE_HZ)[57]
    assert waves[..., release + tail - 10].any()
    assert not waves[..., release + tail :].any()
    assert (oscillator_tails(harmonics(2), 1, RATE_HZ) == 640).all()


@settings(deadline=None)
@given(
    notes=notes_on_a_millisecond_grid,
    start=st.integers(-800, 2000),
    length=st.integers(0, 2500),
    envelopes=st.integers(1, 4),
)
def test_any_slice_is_that_slice_of_the_whole_waves(notes: list[Note], start: int, length: int, envelopes: int) -> None:
    events = roll_events(notes, RATE_HZ)
    whole = oscillators(events, -800, 4500, harmonics(4), envelopes)
    part = oscillators(events, start, start + length, harmonics(4), envelopes)
    np.testing.assert_allclose(part, whole[:, start + 800 : start + length + 800], atol=1e-6)


def test_slices_of_one_noise_fit_and_other_seeds_are_other_noises() -> None:
    whole = noises(-3000, 200_000, 2, RATE_HZ, (7, 1))
    assert whole.shape == (2, 203_000)
    for start, stop in [(-3000, -2999), (-5, 5), (1023, 1025), (1024, 2048), (500, 500), (5000, 9000)]:
        part = noises(start, stop, 2, RATE_HZ, (7, 1))
        np.testing.assert_allclose(part, whole[:, start + 3000 : stop + 3000], atol=1e-6)
    np.testing.assert_array_equal(noises(-3000, 200_000, 1, RATE_HZ, (7, 2)).shape, (1, 203_000))
    others = np.concatenate([whole, noises(-3000, 200_000, 2, RATE_HZ, (7, 2))])
    assert np.abs(np.corrcoef(others) - np.eye(4)).max() < 0.05
    np.testing.assert_allclose(others.std(axis=1), 1, atol=0.05)


def test_one_noise_is_white_and_the_other_falls_by_half_above_100_hz() -> None:
    for noise, wanted in zip(noises(0, 400_000, 2, RATE_HZ, (3,)), (0.0, -20.0), strict=True):
        power = np.abs(np.fft.rfft(noise)) ** 2
        hz = np.fft.rfftfreq(len(noise), 1 / RATE_HZ)
        low, high = (power[(hz > 0.8 * centre) & (hz < 1.2 * centre)].mean() for centre in (200, 2_000))
        assert 10 * np.log10(high / low) == pytest.approx(wanted, abs=1.2)


def test_every_key_has_its_own_frequencies_and_phases() -> None:
    ratios, phases = np.tile(np.float32([1, 2]), (128, 1)), np.zeros((128, 2), np.float32)
    ratios[60], phases[60] = (1.25, 2.5), (0.25, 0.125)
    events = roll_events([Note(60, 80, 0.1, 0.4), Note(69, 80, 0.5, 0.8)], RATE_HZ)
    waves = oscillators(events, 0, 14_000, Partials(ratios, phases))
    angle = 2 * np.pi * (440 * 2 ** (-9 / 12) * np.array([[1.25], [2.5]]) * np.arange(4_000) / RATE_HZ)
    angle += 2 * np.pi * np.array([[0.25], [0.125]])
    np.testing.assert_allclose(waves[:, 1_600:5_600], np.concatenate([np.sin(angle), np.cos(angle)]), atol=1e-5)
    np.testing.assert_array_equal(waves[:, 7_500:], oscillators(events, 7_500, 14_000, harmonics(2)))


def test_note_envelopes_are_the_amplitudes_of_the_oscillators() -> None:
    notes = [Note(57, 80, 0.25, 0.75), Note(64, 80, 0.5, 0.6)]
    each = []
    for note in notes:
        waves = oscillators(roll_events([note], RATE_HZ), 0, 30_000, harmonics(1), 4).reshape(4, 2, 30_000)
        each.append(np.hypot(waves[:, 0], waves[:, 1]))
    together = note_envelopes(roll_events(notes, RATE_HZ), 0, 30_000, harmonics(1), 4)
    np.testing.assert_allclose(together, sum(each), atol=1e-5)


def measured(partials: Partials) -> Partials:
    rng = np.random.default_rng(0)
    return Partials(
        partials.ratios,
        partials.phases + 0.2,
        rng.uniform(-9, -2, (*partials.ratios.shape, len(KNOTS_S))).astype(np.float32),
        rng.uniform(0.01, 0.2, 128).astype(np.float32),
        np.sort(rng.random((128, len(ATTACKS_S)))).astype(np.float32),
    )


def test_the_deterministic_part_is_its_closed_form() -> None:
    partials = measured(harmonics(3))
    assert partials.levels is not None
    assert partials.releases_s is not None
    assert partials.attacks is not None
    notes = [(57, 0.1, 2.1), (105, 0.5, 1.0)]  # of the higher one 2 partials are below 7600 Hz
    events = roll_events([Note(key, 80, start_s, end_s) for key, start_s, end_s in notes], RATE_HZ)
    expected = np.zeros(60_000)
    for key, start_s, end_s in notes:
        time_s = np.arange(60_000) / RATE_HZ - start_s
        release_s = partials.releases_s[key]
        after_s = np.maximum(time_s - (end_s - start_s), 0)
        amplitude = np.exp(-after_s / release_s) * (time_s >= -1e-9) * (after_s < RINGS_OUT * release_s)
        attack = np.interp(time_s, ATTACKS_S, partials.attacks[key])
        amplitude *= np.where(time_s < ATTACKS_S[-1] - 1e-9, attack, 1.0)
        for k in range(2 if key == 105 else 3):
            level = np.interp(time_s, KNOTS_S, partials.levels[key, k])
            angle = 2 * np.pi * (440 * 2 ** ((key - 69) / 12) * (k + 1) * time_s + 0.2)
            expected += np.exp(level) * np.sin(angle) * amplitude
    np.testing.assert_allclose(deterministic_part(events, 0, 60_000, partials), expected, atol=1e-5)
    np.testing.assert_allclose(deterministic_part(events, 9_000, 20_000, partials), expected[9_000:20_000], atol=1e-5)
    np.testing.assert_allclose(deterministic_part(events, 2_000, 2_100, partials), expected[2_000:2_100], atol=1e-5)
    assert not deterministic_part(events, 0, 100, harmonics(3)).any()


def test_measured_oscillators_fade_in_and_are_released_as_measured() -> None:
    partials = measured(harmonics(2))
    assert partials.releases_s is not None
    assert partials.attacks is not None
    events = roll_events([Note(57, 80, 0.25, 0.75)], RATE_HZ)
    waves = oscillators(events, 0, 60_000, partials, envelopes=2).reshape(2, 2, 2, 60_000)
    time_s = np.arange(60_000) / RATE_HZ - 0.25
    attack = np.where(time_s < ATTACKS_S[-1] - 1e-9, np.interp(time_s, ATTACKS_S, partials.attacks[57]), 1.0)
    tail = oscillator_tails(partials, 1, RATE_HZ)[57]
    assert tail == round(RINGS_OUT * float(partials.releases_s[57]) * RATE_HZ)
    first = attack * np.exp(-np.maximum(time_s - 0.5, 0) / partials.releases_s[57]) * (time_s >= 0)
    first[12_000 + tail :] = 0
    down_s, up_s = ENVELOPES_S[0]
    second = attack * np.exp(-np.clip(time_s, 0, 0.5) / down_s - np.maximum(time_s - 0.5, 0) / up_s) * (time_s >= 0)
    second[12_000 + round(RINGS_OUT * up_s * RATE_HZ) :] = 0
    for wave, expected in zip(waves, (first, second), strict=True):
        np.testing.assert_allclose(np.hypot(wave[0, 0], wave[1, 0]), expected, atol=2e-5)


def test_what_comes_with_the_score_in_order() -> None:
    events = roll_events([Note(60, 90, 0.0, 0.5)], RATE_HZ)
    rows = excitation(events, -100, 3000, harmonics(2), 2, 2, 2, (5,))
    np.testing.assert_array_equal(rows[:8], oscillators(events, -100, 3000, harmonics(2), 2))
    np.testing.assert_array_equal(rows[8:], noises(-100, 3000, 2, RATE_HZ, (5,)))
    assert len(excitation(events, -100, 3000, harmonics(2), 2, 2, 0, (5,))) == 8
    assert excitation(events, 0, 10, harmonics(0), 0, 1, 0, (5,)).shape == (0, 10)
    tuned = measured(harmonics(5))
    rows = excitation(events, -100, 3000, tuned, 2, 2, 1, (5,))
    np.testing.assert_array_equal(rows[:8], oscillators(events, -100, 3000, tuned, 2, 2))
    np.testing.assert_array_equal(rows[8:10], note_envelopes(events, -100, 3000, tuned, 2))
    np.testing.assert_array_equal(rows[10:11], noises(-100, 3000, 1, RATE_HZ, (5,)))
    np.testing.assert_array_equal(rows[11], deterministic_part(events, -99, 3001, tuned))


def test_events_moved_in_time_give_the_same_roll() -> None:
    events = roll_events([Note(60, 90, 0.0, 0.5), Note(62, 90, 0.3, 0.9), Note(60, 90, 0.5, 0.7)], 1_000)
    moved = events_from(events, 400)
    assert np.array_equal(rasterise(moved, 0, 500), rasterise(events, 400, 900))
