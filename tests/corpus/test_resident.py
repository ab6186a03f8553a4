"""Slices drawn on the device, against the corpus itself, rasterised rolls and an integer SplitMix64."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from synthnet.audio.mulaw import CLASS_BOUNDARIES, dithered_class_probabilities, encode_mu_law
from synthnet.corpus.corpus import FULL_SCALE, Corpus
from synthnet.corpus.resident import GOLDEN, ResidentSlices, mixed, uniform
from synthnet.corpus.slices import SliceDataset
from synthnet.models.time_major import Slice
from synthnet.score.roll import rasterise

N_PREDICTED, N_CONTEXT, WIDTH = 900, 40, 3


def slices_of(corpora: list[Corpus], **options: object) -> ResidentSlices:
    dataset = SliceDataset(
        corpora, "train", n_predicted=N_PREDICTED, n_context=N_CONTEXT, **{"seed": 3, "dithered": False, **options}
    )
    rng = np.random.default_rng(0)  # noise, so that no two places are alike
    dataset.recordings = [
        dataclasses.replace(one, samples=rng.integers(-30_000, 30_000, len(one.samples), np.int16))
        for one in dataset.recordings
    ]
    return ResidentSlices(dataset, WIDTH, torch.device("cpu"))


def draw(slices: ResidentSlices, number: int) -> Slice:
    return slices.draw(torch.tensor(number))


def place_of(slices: ResidentSlices, piece: Slice, recording: int = 0) -> int:
    """Where a slice without dither lies in a recording: its first input's sample."""
    samples = slices.dataset.recordings[recording].samples
    n_inputs = N_PREDICTED + N_CONTEXT
    padded = np.pad(encode_mu_law(samples.astype(np.float32) / FULL_SCALE), n_inputs + 1, constant_values=128)
    classes = piece.classes.numpy()
    views = np.lib.stride_tricks.sliding_window_view(padded, n_inputs + 1)
    likely = np.flatnonzero((views[:, -8:] == classes[-8:]).all(axis=1))
    (found,) = (place for place in likely if np.array_equal(views[place], classes))
    return int(found) - n_inputs - 1


def test_bits_are_splitmix64() -> None:
    def splitmix(state: int) -> int:
        bits = state % 2**64
        bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) % 2**64
        return bits ^ (bits >> 31)

    assert splitmix(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF  # the generator's first output for seed 0
    assert GOLDEN % 2**64 == 0x9E3779B97F4A7C15
    keys = [*range(-3, 4), GOLDEN, 2**63 - 1, -(2**63)]
    assert [int(bits) % 2**64 for bits in mixed(torch.tensor(keys))] == [splitmix(key) for key in keys]
    numbers = uniform(mixed(torch.arange(200_000) * GOLDEN)).numpy()
    assert 0 <= numbers.min() < numbers.max() < 1
    counts = np.histogram(numbers, 100, (0, 1))[0]
    assert ((counts - 2000) ** 2 / 2000).sum() < 160  # chi-squared with 99 degrees of freedom: 1 in 10,000


@pytest.mark.parametrize("velocity", [False, True])
def test_a_slice_is_the_corpus_s_audio_and_roll(tiny_corpus: Corpus, velocity: bool) -> None:
    slices = slices_of([tiny_corpus], velocity=velocity, cold_start_share=0.0)
    events = slices.dataset.recordings[0].events
    seen = set()
    for number in range(6):
        piece = draw(slices, number)
        begin = place_of(slices, piece)
        n_inputs = len(piece.runs)
        right = rasterise(events, begin - WIDTH + 1, begin + n_inputs + 1, velocity)  # [128, F - 1 + N + 1]
        frames = np.lib.stride_tricks.sliding_window_view(right, WIDTH + 1, axis=1).transpose(1, 0, 2)
        np.testing.assert_allclose(piece.windows[piece.runs].numpy(), frames, atol=1e-7)
        assert int(piece.runs[0]) == 0
        assert set(piece.runs.diff().tolist()) <= {0, 1}
        assert len(piece.windows) == slices.most_runs > int(piece.runs[-1])
        assert slices.most_runs % 8 == 0  # what tensor cores want
        seen.add(begin)
    assert len(seen) == 6


def test_a_number_gives_a_slice_and_seeds_give_others(tiny_corpus: Corpus) -> None:
    first, again, other = (slices_of([tiny_corpus], seed=seed, dithered=True) for seed in (3, 3, 4))
    for one, two in zip(draw(first, 5), draw(again, 5), strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(draw(first, 5).classes, draw(other, 5).classes)
    assert not torch.equal(draw(first, 5).classes, draw(first, 6).classes)


def test_starts_reach_over_the_whole_piece_and_cold_ones_before_it(tiny_corpus: Corpus) -> None:
    slices = slices_of([tiny_corpus], cold_start_share=0.0)
    n = len(slices.dataset.recordings[0].samples)
    marked = torch.arange(len(slices.audio))  # in place of the audio, so that classes tell where a slice begins
    slices.audio, slices.boundaries = marked.float() * FULL_SCALE, marked.float()

    def starts(share: float) -> np.ndarray:
        slices.dataset.cold_start_share = share
        first = np.array([int(draw(slices, number).classes[0]) - 1 for number in range(500)])
        return first + 1 + N_CONTEXT - int(slices.zeros[0])  # the sample of the first target

    everywhere, cold = starts(0.0), starts(1.0)
    assert everywhere.min() >= -N_PREDICTED
    assert everywhere.max() <= n - N_PREDICTED
    assert abs(everywhere.mean() - (n / 2 - N_PREDICTED)) < 4 * n / np.sqrt(12 * 500)
    assert cold.min() >= -N_PREDICTED
    assert cold.max() <= 0
    assert abs(cold.mean() + N_PREDICTED / 2) < 4 * N_PREDICTED / np.sqrt(12 * 500)


def test_no_sample_that_a_piece_leaves_out_is_predicted(tiny_corpus: Corpus) -> None:
    left_out = ((600, 2_000), (15_000, 15_100), (30_000, 33_000))
    pieces = tuple(dataclasses.replace(piece, left_out=left_out) for piece in tiny_corpus.pieces)
    slices = slices_of([dataclasses.replace(tiny_corpus, pieces=pieces)], cold_start_share=0.3)
    starts = {place_of(slices, draw(slices, number)) + 1 + N_CONTEXT for number in range(60)}
    assert all(stop <= start or start + N_PREDICTED <= first for start in starts for first, stop in left_out)
    for first, stop in ((-N_PREDICTED, 600), (2_000, 15_000), (15_100, 30_000), (33_000, 10**9)):
        assert any(first <= start < stop for start in starts)


def test_dither_has_the_classes_that_are_due(tiny_corpus: Corpus) -> None:
    slices = slices_of([tiny_corpus], dithered=True, cold_start_share=0.0)
    slices.audio = torch.full_like(slices.audio, 300)
    counts = np.bincount(np.concatenate([draw(slices, number).classes.numpy() for number in range(40)]), minlength=256)
    right = dithered_class_probabilities(np.array([300 / FULL_SCALE]))[0] * counts.sum()
    common = right > 5
    assert counts[right == 0].sum() == 0
    chi_squared = ((counts[common] - right[common]) ** 2 / right[common]).sum()
    assert chi_squared < common.sum() + 5 * np.sqrt(2 * common.sum())


def test_all_levels_fall_into_the_classes_of_encode_mu_law() -> None:
    levels = np.arange(-FULL_SCALE, FULL_SCALE).astype(np.float32) / FULL_SCALE
    boundaries = torch.as_tensor(CLASS_BOUNDARIES, dtype=torch.float32)
    found = torch.bucketize(torch.from_numpy(levels), boundaries, right=True)
    assert np.array_equal(found.numpy(), encode_mu_law(levels))


def test_instruments_share_a_timeline(tiny_corpus: Corpus) -> None:
    pieces = [dataclasses.replace(piece, split="train") for piece in tiny_corpus.pieces]
    both = dataclasses.replace(tiny_corpus, pieces=tuple(pieces))
    slices = slices_of([tiny_corpus, both], cold_start_share=0.0)
    assert len(slices.zeros) == 3
    seen = set()
    for number in range(24):
        piece = draw(slices, number)
        instrument = int(piece.instrument)
        for recording in ((0,), (1, 2))[instrument]:
            try:
                place_of(slices, piece, recording)
            except ValueError:
                continue
            seen.add((instrument, recording))
            break
        else:
            pytest.fail("a slice that is nowhere in its instrument's recordings")
    assert seen == {(0, 0), (1, 1), (1, 2)}
