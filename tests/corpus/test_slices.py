"""Slices against recordings whose every sample says where it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from torch.utils.data import DataLoader

from synthnet.audio.mulaw import DITHER_WIDTH, SILENCE, decode_mu_law, dithered_class_probabilities, encode_mu_law
from synthnet.corpus.build import build_corpus
from synthnet.corpus.corpus import Corpus, Piece
from synthnet.corpus.slices import SliceDataset
from synthnet.files import InputError
from synthnet.score.general_midi import find_instrument
from synthnet.score.midi import write_midi
from synthnet.score.notes import Note, Score, Track
from synthnet.score.roll import rasterise, roll_events

RATE_HZ = 16_000


class Ruler(Corpus):
    """A made-up recording: key k sounds in samples [100 k, 100 k + 60), and the audio is `gain` exactly then."""

    def read_samples(self, piece: Piece) -> np.ndarray:
        samples = np.zeros(piece.n_samples, np.int16)
        samples.reshape(-1, 100)[:, :60] = 32_767 * self.gain
        return samples

    def read_notes(self, piece: Piece) -> tuple[Note, ...]:
        keys = range(piece.n_samples // 100)
        return tuple(Note(key, 90, 100 * key / RATE_HZ, (100 * key + 60) / RATE_HZ) for key in keys)


def ruler(n_samples: int = 12_000, sample_rate_hz: int = RATE_HZ, level: float = 0.5) -> Ruler:
    piece = Piece("ruler", "train", n_samples, 1.0, "ruler.mid", "", "", "")
    return Ruler(Path("ruler"), 1, "ruler", 0, sample_rate_hz, "", "", "", level, (piece,))


def start_of(item: dict[str, torch.Tensor]) -> int:
    """The first sample that a slice of a ruler predicts, read from its roll, which must show an onset."""
    roll = item["target_roll"].numpy().astype(int)
    key, t = np.argwhere(np.diff(roll, axis=1) == 1)[0]
    return int(100 * key - t - 1)


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_shapes_and_types(tiny_corpus: Corpus) -> None:
    for velocity, kind in ((False, torch.uint8), (True, torch.float32)):
        item = SliceDataset([tiny_corpus], "train", n_predicted=50, n_context=20, seed=0, velocity=velocity)[0]
        assert {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in item.items()} == {
            "x": ((70,), torch.int64),
            "roll": ((128, 70), kind),
            "style": ((), torch.int64),
            "target_x": ((50,), torch.int64),
            "target_roll": ((128, 50), torch.uint8),
        }


@pytest.mark.parametrize("n_context", [0, 1, 300])
def test_targets_are_the_inputs_one_sample_later(n_context: int) -> None:
    slices = SliceDataset([ruler()], "train", n_predicted=500, n_context=n_context, seed=1)
    for i in range(20):
        item = slices[i]
        assert torch.equal(item["x"][n_context + 1 :], item["target_x"][:-1])
        assert torch.equal(item["roll"][:, n_context + 1 :], item["target_roll"][:, :-1])
        clean, target = 0.5 * item["target_roll"].numpy().max(axis=0), item["target_x"].numpy()
        assert (encode_mu_law(clean - 1.01 * DITHER_WIDTH) <= target).all()
        assert (target <= encode_mu_law(clean + 1.01 * DITHER_WIDTH)).all()


def test_roll_and_audio_agree_to_the_sample() -> None:
    slices = SliceDataset([ruler()], "train", n_predicted=700, n_context=300, seed=2, cold_start_share=0.3)
    for i in range(50):
        item = slices[i]
        for x, roll in ((item["x"], item["roll"]), (item["target_x"], item["target_roll"])):
            loud = decode_mu_law(x.numpy()) > 0.25
            np.testing.assert_array_equal(loud, roll.numpy().any(axis=0))


@pytest.mark.parametrize("velocity", [False, True])
def test_the_roll_is_that_of_the_inputs_and_its_target_binary(velocity: bool) -> None:
    slices = SliceDataset([ruler()], "train", n_predicted=400, n_context=100, seed=2, velocity=velocity)
    events = roll_events(ruler().read_notes(ruler().pieces[0]), RATE_HZ)
    for i in range(10):
        begin = start_of(slices[i]) - 1 - 100
        np.testing.assert_array_equal(slices[i]["roll"], rasterise(events, begin, begin + 500, velocity))
        np.testing.assert_array_equal(slices[i]["target_roll"], rasterise(events, begin + 101, begin + 501))


def test_a_struck_note_is_where_the_roll_says(tmp_path: Path) -> None:
    """Through the whole chain, MIDI file to slice: the square wave begins at once, by a tenth of its peak in 1 ms."""
    notes = tuple(Note(60, 100, start_s, start_s + 0.2) for start_s in (0.5, 1.2503, 2.1117, 2.9896))
    write_midi(Score((Track(notes),)), tmp_path / "strikes.mid")
    corpus = build_corpus(tmp_path / "corpus", find_instrument("square"), [tmp_path / "strikes.mid"])
    item = SliceDataset([corpus], "train", n_predicted=60_000, n_context=0, seed=0, cold_start_share=1.0)[0]
    roll = item["target_roll"][60].numpy().astype(int)
    audio = decode_mu_law(item["target_x"].numpy())
    onsets = np.flatnonzero(np.diff(roll) == 1) + 1
    assert len(onsets) >= 3
    for onset in onsets:
        assert np.abs(audio[onset - 200 : onset - 4]).max() < 0.03  # silence and dither
        assert np.abs(audio[onset : onset + 16]).max() > 0.1
    attacks = np.stack([audio[onset : onset + 2_000] for onset in onsets])
    assert np.corrcoef(attacks).min() > 0.999


def test_slice_depends_on_seed_and_number_alone(tiny_corpus: Corpus) -> None:
    def slices(seed: int) -> SliceDataset:
        return SliceDataset([tiny_corpus], "train", n_predicted=100, n_context=10, seed=seed)

    forwards = [slices(5)[i] for i in range(4)]
    backwards = slices(5)
    for i in reversed(range(4)):
        torch.manual_seed(i)
        np.random.seed(i)  # noqa: NPY002
        assert equal(backwards[i], forwards[i])
    assert not equal(forwards[0], forwards[1])
    assert not equal(slices(6)[0], forwards[0])


def test_workers_change_nothing(tiny_corpus: Corpus) -> None:
    slices = SliceDataset([tiny_corpus], "train", n_predicted=100, n_context=10, seed=5)
    batches = [list(DataLoader(slices, batch_size=2, sampler=range(3, 11), num_workers=workers)) for workers in (0, 2)]
    assert len(batches[0]) == len(batches[1]) == 4
    assert all(equal(a, b) for a, b in zip(*batches, strict=True))
    assert torch.equal(batches[0][1]["x"][0], slices[5]["x"])


def test_starts_are_uniform() -> None:
    n_predicted = 300
    slices = SliceDataset([ruler()], "train", n_predicted=n_predicted, n_context=0, seed=3, cold_start_share=0.0)
    items = [slices[i] for i in range(1_500)]
    with_onset = [item for item in items if np.diff(item["target_roll"].numpy().astype(int), axis=1).max() == 1]
    starts = np.array([start_of(item) for item in with_onset])
    assert -n_predicted < starts.min() < -200
    assert 12_000 - n_predicted - 100 < starts.max() <= 12_000 - n_predicted
    uniform = scipy.stats.uniform(-n_predicted + 1, 12_000)  # at -300 there is no onset to be seen
    assert scipy.stats.kstest(starts, uniform.cdf).pvalue > 0.01


def test_both_ends_of_the_range_are_reached_in_every_piece_and_not_passed() -> None:
    short = ruler(100)  # loud in samples 0 to 59
    slices = SliceDataset([short, short], "train", n_predicted=50, n_context=0, seed=3, cold_start_share=0.0)
    seen = set()
    for i in range(3_000):
        loud = decode_mu_law(slices[i]["target_x"].numpy()) > 0.25
        seen.add((int(slices[i]["style"]), bool(loud[0]), int(loud.sum())))
    # Starts -50 to -1 hear 0 to 49 loud samples after quiet ones, starts 0 to 50 hear 50 to 10 loud samples first.
    one_piece = {(False, n) for n in range(50)} | {(True, n) for n in range(10, 51)}
    assert seen == {(style, *heard) for style in (0, 1) for heard in one_piece}


def test_pieces_are_drawn_by_length_over_all_corpora() -> None:
    short, long = ruler(3_000), ruler(9_000)
    slices = SliceDataset([short, long], "train", n_predicted=10, n_context=0, seed=4)
    styles = np.array([int(slices[i]["style"]) for i in range(2_000)])
    assert scipy.stats.binomtest(int(styles.sum()), 2_000, 9_001 / 12_002).pvalue > 0.01


def test_cold_starts() -> None:
    n_predicted = 400
    cold = SliceDataset([ruler()], "train", n_predicted=n_predicted, n_context=100, seed=5, cold_start_share=1.0)
    for i in range(100):
        item = cold[i]
        assert not item["roll"][:, :101].any()  # nothing sounds before the piece
        assert np.abs(decode_mu_law(item["x"][:101].numpy())).max() < 0.0095
    few = SliceDataset([ruler()], "train", n_predicted=n_predicted, n_context=0, seed=5, cold_start_share=0.25)
    onset_at_zero = [bool(few[i]["target_roll"][0].any()) for i in range(1_000)]
    # Key 0 sounds for starts -399 to 59: nearly all cold starts, and 459 of the other 12,001.
    expected = 0.25 * 400 / 401 + 0.75 * 459 / 12_001
    assert scipy.stats.binomtest(sum(onset_at_zero), 1_000, expected).pvalue > 0.01


def test_dither_is_triangular_and_drawn_anew() -> None:
    slices = SliceDataset([ruler(level=1e-9)], "train", n_predicted=4_000, n_context=0, seed=6)
    classes = np.stack([slices[i]["target_x"].numpy() for i in range(20)])  # [20, 4000]
    expected = dithered_class_probabilities(np.zeros(1))[0] * classes.size
    counts = np.bincount(classes.ravel(), minlength=256)
    possible = expected > 0
    assert counts[~possible].sum() == 0
    assert scipy.stats.chisquare(counts[possible], expected[possible]).pvalue > 0.01
    centred = decode_mu_law(classes) / DITHER_WIDTH
    assert np.abs(np.corrcoef(centred) - np.eye(20)).max() < 5 / np.sqrt(4_000)  # between slices
    assert abs(np.mean(centred[:, 1:] * centred[:, :-1])) < 0.01  # between samples
    assert int(encode_mu_law(np.zeros(1))[0]) == SILENCE


def test_a_piece_shorter_than_a_slice() -> None:
    slices = SliceDataset([ruler(200)], "train", n_predicted=1_000, n_context=50, seed=7)
    for i in range(20):
        item = slices[i]
        loud = decode_mu_law(item["target_x"].numpy()) > 0.25
        np.testing.assert_array_equal(loud, item["target_roll"].numpy().any(axis=0))
        assert loud.sum() <= 120


def test_corpora_must_agree_on_the_rate_and_have_the_split() -> None:
    with pytest.raises(InputError, match="8000, 16000 Hz"):
        SliceDataset([ruler(), ruler(sample_rate_hz=8_000)], "train", n_predicted=10, n_context=0, seed=0)
    with pytest.raises(InputError, match="no piece in the valid split"):
        SliceDataset([ruler()], "valid", n_predicted=10, n_context=0, seed=0)


def test_validation_slices_come_from_validation_pieces(tiny_corpus: Corpus) -> None:
    relabelled = replace(tiny_corpus, pieces=tuple(replace(p, split="train") for p in tiny_corpus.split("valid")))
    valid = SliceDataset([tiny_corpus], "valid", n_predicted=100, n_context=0, seed=1)
    alone = SliceDataset([relabelled], "train", n_predicted=100, n_context=0, seed=1)
    assert all(equal(valid[i], alone[i]) for i in range(10))
