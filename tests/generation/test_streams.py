"""Generation by the reference engine and what is built on it: equal to the full pass, seeded, mixed, in any block."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from synthnet.audio.files import read_audio
from synthnet.audio.mulaw import decode_mu_law
from synthnet.generation import streams as streams_module
from synthnet.generation.chunks import generate_in_chunks
from synthnet.generation.library import Seat
from synthnet.generation.render import Rendering, Settings, render_score, rendering_samples
from synthnet.generation.streams import Stream, generate
from synthnet.models import Network, build_model, preset_config
from synthnet.models.checkpoint import Checkpoint, Voice, arrays_of
from synthnet.score.controllers import Controls
from synthnet.score.notes import Note, Score, Track
from synthnet.score.roll import roll_events

RATE = 16_000
EVENTS = roll_events([Note(60, 100, 0.01, 0.05), Note(64, 100, 0.02, 0.06), Note(60, 100, 0.05, 0.08)], RATE)


def network_of(model: str = "synthnet", **changes: int) -> Network:
    torch.manual_seed(0)
    network = build_model(preset_config(model, "tiny", **changes))
    with torch.no_grad():  # sharper than a fresh network, so that the score and the past matter
        network.head.logits.weight.mul_(8)
    return network.eval().requires_grad_(False)


def test_same_seed_same_audio_other_seed_other_audio() -> None:
    network = network_of()

    def audio(seed: int) -> np.ndarray:
        return np.concatenate([block[0] for block in generate(network, [Stream(EVENTS, (seed,))], 800)])

    assert np.array_equal(audio(3), audio(3))
    assert not np.array_equal(audio(3), audio(4))


def test_a_stream_does_not_depend_on_its_company_nor_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of(velocity=True)
    n = 900
    alone = np.concatenate([block[0] for block in generate(network, [Stream(EVENTS, (5,))], n)])
    company = [Stream(roll_events([], RATE), (1,)), Stream(EVENTS, (5,))]
    together = np.concatenate([block[1] for block in generate(network, company, n)])
    assert np.array_equal(alone, together)
    monkeypatch.setattr(streams_module, "BLOCK_SAMPLES", 77)
    in_pieces = list(generate(network, [Stream(EVENTS, (5,))], n))
    assert {piece.shape[1] for piece in in_pieces} == {77, n % 77}
    assert np.array_equal(alone, np.concatenate(in_pieces, axis=1)[0])


def test_samples_follow_the_distribution_and_means_are_its_mean() -> None:
    """With all weights of the head 0 but the last bias, the distribution is that bias's softmax, at every step."""
    network = network_of()
    with torch.no_grad():
        network.head.logits.weight.zero_()
        network.head.logits.bias.copy_(torch.linspace(-3, 3, 256))
    expected = torch.softmax(network.head.logits.bias.double() / 0.7, 0).numpy()
    streams = [Stream(EVENTS, (seed,), mean=seed == 4) for seed in range(5)]
    *samples, mean = np.concatenate(list(generate(network, streams, 4_000, temperature=0.7)), axis=1)
    levels = decode_mu_law(np.arange(256))
    sample = np.stack(samples)
    counts = np.array([(sample == level).sum() for level in levels])
    assert counts.sum() == sample.size
    # Chi-square with 255 degrees of freedom: mean 255, standard deviation 22.6.
    assert ((counts - sample.size * expected) ** 2 / (sample.size * expected)).sum() < 255 + 5 * 22.6
    np.testing.assert_allclose(mean, (expected * levels).sum(), atol=1e-5)


def seat_of(network: Network, rate: int = RATE, **training) -> Seat:
    return Seat(Checkpoint(network.config, rate, ("x",), training, arrays_of(network.state_dict())), Voice("x", None))


DRAWN = Settings(RATE, mean=False, n_chunks=1, mono=True)


def render(
    network: Network | list[Seat], score: Score, path: Path, settings: Settings = DRAWN, **options: Any
) -> Rendering:
    """With one network for all tracks, or one for each."""
    seats = network if isinstance(network, list) else [seat_of(network)] * len(score.tracks)
    return render_score(seats, score, path, settings, **options)


def test_a_rendering_ends_half_a_second_after_the_last_note() -> None:
    score = Score((Track((Note(60, 90, 0.0, 1.0),), 0, "a"), Track((Note(67, 90, 0.5, 0.7),), 0, "b")))
    seats = [seat_of(network_of())] * 2
    assert len(rendering_samples(score, seats, Settings(RATE))) == 1.5 * RATE
    assert len(rendering_samples(score, seats, Settings(RATE, 0.25))) == RATE // 4


@pytest.mark.parametrize("engine", ["torch", "compiled"])
def test_only_a_network_of_velocities_plays_them(engine: str) -> None:
    loud, soft = (roll_events([Note(60, velocity, 0.0, 0.05)], RATE) for velocity in (127, 20))
    for velocity in (False, True):
        network = network_of(velocity=velocity)
        first, second = (
            np.concatenate(list(generate(network, [Stream(events, (1,), None, True)], 800, engine=engine)), axis=1)
            for events in (loud, soft)
        )
        assert np.array_equal(first, second) != velocity


def one_class_network(class_number: int) -> Network:
    """A network that always plays the same class."""
    network = network_of()
    with torch.no_grad():
        network.head.logits.weight.zero_()
        network.head.logits.bias.fill_(-100)
        network.head.logits.bias[class_number] = 100
    return network


TWO_TRACKS = Score((Track((Note(60, 90, 0.0, 0.1),), 0, "a"), Track((Note(67, 90, 0.05, 0.15),), 40, "b")))


def test_mix_is_the_sum_of_the_stems_turned_down_only_if_it_would_clip(tmp_path: Path) -> None:
    names = ["00 a.wav", "01 b.wav"]
    for class_number, turned_down in [(178, False), (250, True)]:
        rendering = render(one_class_network(class_number), TWO_TRACKS, tmp_path / "mix.wav", stems=tmp_path / "stems")
        level = float(decode_mu_law(np.array(class_number)))
        mix = read_audio(tmp_path / "mix.wav").samples
        stems = [read_audio(tmp_path / "stems" / name).samples for name in names]
        assert len(mix) == rendering.n_samples == round((0.15 + 0.5) * RATE)
        np.testing.assert_allclose(stems, level * rendering.gain, atol=1e-4)
        np.testing.assert_allclose(mix, 2 * level * rendering.gain, atol=2e-4)
        assert 2 * level * rendering.gain < 10 ** (-1 / 20)
        assert (rendering.gain < 1) == turned_down
        assert rendering.silent_tracks == ()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mix.wav", "stems"]


def test_silence_while_notes_sound_is_noticed(tmp_path: Path) -> None:
    rendering = render(one_class_network(128), TWO_TRACKS, tmp_path / "mix.flac")
    assert rendering.silent_tracks == (0, 1)
    assert read_audio(tmp_path / "mix.flac").sample_rate_hz == RATE


def test_interrupted_rendering_leaves_playable_audio_under_another_name(tmp_path: Path) -> None:
    calls = []

    def interrupt(n: int, numbers: object) -> None:
        calls.append(n)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(one_class_network(200), TWO_TRACKS, tmp_path / "mix.wav", progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["mix.partial.wav"]
    assert len(read_audio(tmp_path / "mix.partial.wav").samples) == streams_module.BLOCK_SAMPLES


def test_tracks_on_two_networks_are_what_each_network_plays_alone(tmp_path: Path) -> None:
    """Networks of other shapes, with other blocks; the last track is of the first one's batch again."""
    first, second = network_of("synthnet"), network_of("wavenet", channels=12, velocity=True)
    third_track = Track((Note(50, 90, 0.1, 0.2),), 0, "c")
    score = Score((*TWO_TRACKS.tracks, third_track))
    one, other = seat_of(first), seat_of(second)
    for chunks in (1, 2, 3):
        done: list[int] = []
        together = tmp_path / "together"
        rendering = render(
            [one, other, one],
            score,
            tmp_path / "mix.wav",
            Settings(RATE, seed=4, mean=False, n_chunks=chunks, mono=True),
            stems=together,
            progress=lambda n, numbers, done=done: done.append(n),
        )
        assert sum(done) == 3 * rendering.n_samples
        stems = [read_audio(together / name).samples for name in ("00 a.wav", "01 b.wav", "02 c.wav")]
        mix = read_audio(tmp_path / "mix.wav").samples
        np.testing.assert_allclose(mix, sum(stems), atol=2e-4)
        assert np.std(mix) > 0.05
        streams = [Stream(roll_events(track.notes, RATE), (4, number)) for number, track in enumerate(score.tracks)]
        for network, numbers in ((first, [0, 2]), (second, [1])):
            batch, n = [streams[number] for number in numbers], rendering.n_samples
            if chunks == 1:
                alone = np.concatenate(list(generate(network, batch, n)), axis=1)
            else:
                pieces = generate_in_chunks(network, batch, n, chunks, progress=lambda n: None)
                alone = np.concatenate(list(pieces), axis=1)
            for row, number in enumerate(numbers):
                np.testing.assert_allclose(stems[number], alone[row] * rendering.gain, atol=2 / 32_768)


def test_a_network_of_another_rate_is_resampled_into_the_mix(tmp_path: Path) -> None:
    """A constant stays one, at the length asked for, but for the filter's ringing at its ends."""
    seats = [seat_of(one_class_network(178), RATE // 2)] * 2
    n_samples = len(rendering_samples(TWO_TRACKS, seats, Settings(RATE)))
    render_score(seats, TWO_TRACKS, tmp_path / "mix.wav", Settings(RATE, n_chunks=1, mono=True))
    mix = read_audio(tmp_path / "mix.wav").samples
    assert len(mix) == n_samples == round(0.65 * RATE)
    np.testing.assert_allclose(mix[500:-500], 2 * float(decode_mu_law(np.array(178))), atol=1e-3)


def test_the_gain_of_a_corpus_is_divided_out(tmp_path: Path) -> None:
    seat = seat_of(one_class_network(178), corpora=[{"gain": 4.0}])
    render([seat, seat], TWO_TRACKS, tmp_path / "mix.wav")
    middle = read_audio(tmp_path / "mix.wav").samples[1_000:-1_000]
    np.testing.assert_allclose(middle, 2 * float(decode_mu_law(np.array(178))) / 4, atol=1e-4)


def test_the_mixer_gives_networks_the_volume_of_their_channel(tmp_path: Path) -> None:
    halved = Score(tuple(replace(track, controls=Controls(gain=((0.0, 0.5),))) for track in TWO_TRACKS.tracks))
    for score, factor in ((TWO_TRACKS, 1), (halved, 0.5)):
        render(one_class_network(178), score, tmp_path / "mix.wav")
        middle = read_audio(tmp_path / "mix.wav").samples[1_000:-1_000]
        np.testing.assert_allclose(middle, factor * 2 * float(decode_mu_law(np.array(178))), atol=1e-4)
