"""Partials measured on notes that were made with known ones."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from synthnet.corpus import FULL_SCALE, Corpus, Piece
from synthnet.generation.streams import Generator, Stream
from synthnet.instruments import BAR
from synthnet.models import build_model, preset_config
from synthnet.models.network import MEASURED_PARTIALS
from synthnet.roll import ATTACKS_S, KNOTS_S, N_MODES, SILENT_LEVEL, Partials, deterministic_part, roll_events
from synthnet.runs import partials_for
from synthnet.score import Note
from synthnet.tuning import measure_partials
from synthnet.tuning.law import Seen, stretch_of_keys

RATE = 16_000
KEYS = (45, 57, 60, 64, 76)


@dataclass(frozen=True)
class Played(Corpus):
    """A corpus in memory: each key five times, its partials at the given ratios and phases."""

    ratios: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    phases: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    noise: float = 1e-4
    gap_s: float = 0.3  # from a release to the next onset
    release_s: float = 1e-9  # time constant
    speaks_s: float = 0.0  # after the onset
    chord: tuple[int, ...] = ()  # semitones above each note, struck together with it
    knock: tuple[float, ...] = ()  # frequencies in Hz, of amplitude 0.02 and a quarter of a turn later than sines

    def read_notes(self, piece: Piece) -> tuple[Note, ...]:
        """Lengths of 0.2 to 1.6 s."""
        del piece
        notes, now_s = [], 0.1
        for length_s in (0.2, 0.3, 0.5, 0.7, 1.6):
            for key in KEYS:
                notes += [Note(key + above, 90, now_s, now_s + length_s) for above in (0, *self.chord)]
                now_s += length_s + self.gap_s
        return tuple(notes)

    def read_samples(self, piece: Piece) -> np.ndarray:
        """Partials fall by 1 / k and die away."""
        notes = self.read_notes(piece)
        rng = np.random.default_rng(0)
        samples = self.noise * rng.standard_normal(int((notes[-1].end_s + 1) * RATE))
        for note in notes:
            onset, release = (int(np.floor(time_s * RATE + 0.5)) for time_s in (note.start_s, note.end_s))
            time_s = np.arange(min(release - onset + RATE // 2, len(samples) - onset)) / RATE
            falling = (time_s >= self.speaks_s) * np.exp(
                -time_s - np.maximum(time_s - (release - onset) / RATE, 0) / self.release_s
            )
            hz = 440 * 2 ** ((note.pitch - 69) / 12) * self.ratios[note.pitch]
            for number, (frequency, turns) in enumerate(zip(hz, self.phases[note.pitch], strict=True), start=1):
                if frequency < 7_600:
                    wave = np.sin(2 * np.pi * (frequency * time_s + turns)) * falling
                    samples[onset : onset + len(wave)] += 0.2 / number * wave
            fading = 0.02 * np.exp(-time_s / 0.05) * falling
            for frequency in self.knock:
                samples[onset : onset + len(fading)] += fading * np.sin(2 * np.pi * (frequency * time_s + 0.25))
        return np.clip(np.round(samples * FULL_SCALE), -32_768, 32_767).astype(np.int16)


def played(ratios: np.ndarray, phases: np.ndarray, corpus: Corpus) -> Played:
    shared = {field.name: getattr(corpus, field.name) for field in dataclasses.fields(Corpus)}
    piece = next(piece for piece in corpus.pieces if piece.split == "train")
    return Played(**{**shared, "pieces": (piece,)}, ratios=ratios, phases=phases)


def cents(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    return 1200 * np.log2(found / true)


def below(ratios: np.ndarray, key: int) -> np.ndarray:
    """The partials that an instrument at 16 kHz has."""
    return ratios[key] * 440 * 2 ** ((key - 69) / 12) < 7_500


@pytest.mark.parametrize("offset_cents", [-30.0, 0.0, 11.0])
@pytest.mark.parametrize("inharmonicity", [0.0, 4e-4])
def test_stiff_strings_out_of_tune_are_found(tiny_corpus: Corpus, offset_cents: float, inharmonicity: float) -> None:
    rng = np.random.default_rng(1)
    orders = np.arange(1, 17)
    stretched = orders * np.sqrt(1 + inharmonicity * (orders**2 - 1))
    ratios = np.tile(stretched * 2 ** (offset_cents / 1200), (128, 1))
    phases = rng.random(ratios.shape)
    found = measure_partials(played(ratios, phases, tiny_corpus), range(1, 17))
    assert found.ratios.dtype == found.phases.dtype == np.float32
    assert found.ratios.shape == found.phases.shape == (128, 16 + N_MODES)
    for key in KEYS:
        heard = below(ratios, key)
        assert np.abs(cents(found.ratios[key, : ratios.shape[1]], ratios[key])[heard]).max() < 1.0
        apart = (found.phases[key, :16] - phases[key])[heard]
        assert np.abs(apart - np.round(apart)).max() < 0.05
    np.testing.assert_array_equal(found.phases[58], found.phases[57])  # of the nearest key that is heard
    assert np.abs(cents(found.ratios[50:60, 0], 2 ** (offset_cents / 1200))).max() < 1.0


def test_a_bar_s_partials_are_no_harmonics(tiny_corpus: Corpus) -> None:
    ratios = np.tile(np.array(BAR) * 2 ** (7 / 1200), (128, 1))
    found = measure_partials(played(ratios, np.zeros_like(ratios), tiny_corpus), BAR)
    for key in KEYS:
        heard = below(ratios, key)
        assert np.abs(cents(found.ratios[key, : ratios.shape[1]], ratios[key])[heard]).max() < 1.0


def test_what_is_not_heard_is_where_it_should_be(tiny_corpus: Corpus) -> None:
    silent = played(np.zeros((128, 0)), np.zeros((128, 0)), tiny_corpus)
    nothing = measure_partials(dataclasses.replace(silent, noise=0.0), range(1, 5))
    np.testing.assert_array_equal(nothing.ratios[:, :4], np.tile(np.float32([1, 2, 3, 4]), (128, 1)))
    assert nothing.levels is not None
    assert nothing.levels.max() < np.log(1e-3)
    two = played(np.tile([1.01, 2.02], (128, 1)), np.zeros((128, 2)), tiny_corpus)
    of_four = measure_partials(dataclasses.replace(two, noise=0.0), range(1, 5))
    assert np.abs(cents(of_four.ratios[57, :4], 1.01 * np.arange(1, 5))).max() < 1.5


def test_levels_are_those_of_the_notes(tiny_corpus: Corpus) -> None:
    ratios = np.tile(np.arange(1.0, 5), (128, 1))
    found = measure_partials(played(ratios, np.zeros_like(ratios), tiny_corpus), range(1, 5))
    assert found.levels is not None
    assert found.levels.shape == (128, 4 + N_MODES, len(KNOTS_S))
    expected = np.log(0.2 / np.arange(1, 5))[:, None] - KNOTS_S
    heard = (KNOTS_S > 0.05) & (KNOTS_S < 1.5)
    for key in (57, 60, 64):
        np.testing.assert_allclose(found.levels[key, :4, heard].T, expected[:, heard], atol=0.1)
    np.testing.assert_array_equal(found.levels[58], found.levels[57])
    quiet = measure_partials(played(ratios[:, :2], np.zeros((128, 2)), tiny_corpus), range(1, 5)).levels
    assert quiet is not None
    assert quiet[57, 3].max() < np.log(1e-3)


@pytest.mark.parametrize("release_s", [0.03, 0.1, 0.4])
@pytest.mark.parametrize("gap_s", [0.3, 0.0])
def test_releases_are_found_under_the_next_note(tiny_corpus: Corpus, release_s: float, gap_s: float) -> None:
    ratios = np.tile(np.arange(1.0, 9), (128, 1))
    corpus = dataclasses.replace(played(ratios, np.zeros_like(ratios), tiny_corpus), release_s=release_s, gap_s=gap_s)
    found = measure_partials(corpus, range(1, 9)).releases_s
    assert found is not None
    assert found.shape == (128,)
    np.testing.assert_allclose(found[list(KEYS)], release_s, rtol=0.1)
    np.testing.assert_allclose(found[[0, 58, 127]], release_s, rtol=0.1)


def test_a_note_that_stops_at_once_has_the_shortest_release(tiny_corpus: Corpus) -> None:
    ratios = np.tile(np.arange(1.0, 9), (128, 1))
    found = measure_partials(played(ratios, np.zeros_like(ratios), tiny_corpus), range(1, 9)).releases_s
    assert found is not None
    assert found[list(KEYS)].max() < 0.015


@pytest.mark.parametrize("speaks_s", [0.0, 0.012, 0.048])
@pytest.mark.parametrize("gap_s", [0.3, 0.0])
def test_when_a_note_speaks_is_found_under_the_one_before(tiny_corpus: Corpus, speaks_s: float, gap_s: float) -> None:
    ratios = np.tile(np.arange(1.0, 9), (128, 1))
    corpus = dataclasses.replace(
        played(ratios, np.zeros_like(ratios), tiny_corpus), release_s=0.03, gap_s=gap_s, speaks_s=speaks_s
    )
    partials = measure_partials(corpus, range(1, 9))
    found, levels = partials.attacks, partials.levels
    assert found is not None
    assert found.shape == (128, len(ATTACKS_S))
    assert (np.diff(found) >= 0).all()
    assert found[list(KEYS)][:, speaks_s > ATTACKS_S].max(initial=0.0) < 0.3
    assert found[list(KEYS)][:, speaks_s + 0.004 < ATTACKS_S].min() > 0.8
    np.testing.assert_array_equal(found[58], found[57])
    # Windows of 64 ms heard less of the partials than there was; 32 ms after the onset their level is nevertheless
    assert levels is not None
    np.testing.assert_allclose(levels[60, :3, 0], np.log(0.2 / np.arange(1, 4)) - 0.05, atol=0.15)


def test_what_knocks_with_every_note_is_found_off_the_partials(tiny_corpus: Corpus) -> None:
    ratios = np.tile(np.arange(1.0, 9), (128, 1))
    corpus = played(ratios, np.zeros_like(ratios), tiny_corpus)
    dull = measure_partials(corpus, range(1, 9))
    assert dull.levels is not None
    assert dull.levels[:, 8:].max() < np.log(4e-3)
    found = measure_partials(dataclasses.replace(corpus, knock=(95.0, 1_500.0), gap_s=0.1, release_s=0.05), range(1, 9))
    assert found.levels is not None
    for key in (64, 76):  # 95 Hz are too near to the fundamental of 45, 1500 Hz to a partial of 57
        hz = 440 * 2 ** ((key - 69) / 12) * found.ratios[key, 8:]
        for knock_hz in (95.0, 1_500.0):
            number = int(np.argmin(np.abs(hz - knock_hz)))
            assert hz[number] == pytest.approx(knock_hz, abs=1.0)
            assert found.phases[key, 8 + number] % 1 == pytest.approx(0.25, abs=0.05)
            assert found.levels[key, 8 + number, 0] == pytest.approx(np.log(0.02) - 0.032 * 21, abs=0.25)
            assert found.levels[key, 8 + number, 5] < found.levels[key, 8 + number, 0] - 3


def test_what_is_struck_together_is_no_mode(tiny_corpus: Corpus) -> None:
    ratios = np.tile(np.arange(1.0, 9), (128, 1))
    corpus = dataclasses.replace(played(ratios, np.zeros_like(ratios), tiny_corpus), chord=(4, 7))
    found = measure_partials(corpus, range(1, 9))
    assert found.levels is not None
    assert found.attacks is not None
    assert (found.levels[:, 8:] == SILENT_LEVEL).all()
    assert (found.attacks == 1).all()  # of which there is nothing to know
    assert np.abs(cents(found.ratios[57, :4], ratios[57, :4])).max() < 5.0


def test_a_tuned_network_sounds_what_was_measured(tiny_corpus: Corpus) -> None:
    tuned = preset_config("nsf", "tiny", harmonics=3)
    measured = partials_for(tuned, [tiny_corpus])
    assert measured is not None
    assert measured.ratios.shape == (128, 60 + N_MODES)
    nominal = Partials.of_all_keys((1, 2, 3))
    assert 0.1 < np.abs(cents(measured.ratios[57, :3], nominal.ratios[57])).max() < 20
    plain = preset_config("nsf", "tiny", harmonics=3, tuned=False)
    for partials in (partials_for(plain, [tiny_corpus]), build_model(plain).partials):
        assert partials is not None
        np.testing.assert_array_equal(partials.ratios, nominal.ratios)
        assert partials.levels is None
    assert partials_for(preset_config("synthnet", "tiny"), [tiny_corpus]) is None
    assert build_model(preset_config("synthnet", "tiny")).partials is None
    network = build_model(tuned)
    network.tune(measured)
    again = build_model(tuned)
    again.load_state_dict(network.state_dict())
    for partials in (network.partials, again.partials):
        assert partials is not None
        assert partials.levels is not None
        for name in MEASURED_PARTIALS:
            np.testing.assert_array_equal(getattr(partials, name), getattr(measured, name))
    assert not preset_config("nsf", "tiny", styles=2).tuned


def test_a_tuned_network_plays_the_deterministic_part_besides_its_own(tiny_corpus: Corpus) -> None:
    """Streams in blocks of odd lengths, against the parts by themselves."""
    torch.manual_seed(0)
    network = build_model(preset_config("nsf", "tiny", harmonics=3)).eval()
    measured = partials_for(network.config, [tiny_corpus])
    assert measured is not None
    assert measured.levels is not None
    events = roll_events(tiny_corpus.read_notes(tiny_corpus.split("valid")[0]), RATE)

    def played_by(partials: Partials) -> np.ndarray:
        network.tune(partials)
        generator = Generator(network, [Stream(events, (0,), None, expectation=True)])
        return np.concatenate([generator.advance([events], n)[0] for n in (1, 500, 3_999, 4_000)])

    silent = played_by(dataclasses.replace(measured, levels=np.full_like(measured.levels, -30.0)))
    part = deterministic_part(events, 0, 8_500, measured)
    assert np.abs(part).max() > 0.01
    pole = np.exp(-2 * np.pi * 5 / RATE)
    filtered = lfilter(np.array([0.5, -0.5]) * (1 + pole), [1.0, -pole], part)  # as `without_constant` does to both
    np.testing.assert_allclose(played_by(measured) - silent, filtered, atol=1e-5)


def test_a_key_that_is_misled_is_stretched_as_its_neighbours() -> None:
    orders = np.arange(1.0, 9.0)
    law = orders**2 - 1
    # Two samples, of keys 48 to 51 and 52 to 55, and one key each in them whose peaks were others'.
    truth = {48: 0.03, 49: 0.03, 50: 0.5, 51: 0.03, 52: 0.2, 53: 0.2, 54: 1.1, 55: 0.2}
    seen = Seen(
        np.repeat(list(truth), 8),
        np.tile(np.arange(8), 8),
        np.concatenate([4.0 + cents * law for cents in truth.values()]),
        np.ones(64),
    )
    found = stretch_of_keys(seen, law)
    np.testing.assert_allclose(found[48:56], [0.03] * 4 + [0.2] * 4, atol=1e-9)
