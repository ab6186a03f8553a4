"""The losses of spectra against their definitions written out in numpy, and against what they are for."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from synthnet.spectral import DISTANCE_FLOOR_DB, FLOOR_DB, SILENT_BINS, spectral_distance, spectral_loss

RATE = 16_000


def distance(means: Tensor, clean: Tensor, rate: int) -> Tensor:
    return spectral_distance(means, clean, rate)[0]


def discord(means: Tensor, clean: Tensor, rate: int) -> Tensor:
    return spectral_distance(means, clean, rate)[1]


Loss = Callable[[Tensor, Tensor, int], Tensor]
Definition = Callable[[np.ndarray, np.ndarray], float]


def tone(hz: float, amplitude: float = 0.2, n: int = 4_000) -> Tensor:
    """A sine with its next two harmonics, [1, n]."""
    angle = 2 * np.pi * hz * np.arange(n) / RATE
    return torch.from_numpy(sum(amplitude / k * np.sin(k * angle) for k in (1, 2, 3)).astype(np.float32))[None]


def by_definition(means: np.ndarray, clean: np.ndarray) -> float:
    """Of one slice [4000]: windows of 4000 and 1000 samples, bin by bin."""
    losses = []
    for length, lowest in ((4_000, 28.0), (1_000, 32.0)):
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
        starts = range(0, 4_000 - length + 1, length // 2)
        theirs = [np.fft.rfft(clean[start : start + length] * window) for start in starts]
        floor = max((np.abs(spectrum) ** 2).max() for spectrum in theirs) * 10 ** (FLOOR_DB / 10)
        for start, spectrum in zip(starts, theirs, strict=True):
            mine = np.fft.rfft(means[start : start + length] * window)
            power, own = np.abs(spectrum) ** 2, np.abs(mine) ** 2
            mine = mine * math.sqrt((power.sum() + SILENT_BINS * floor) / (own.sum() + SILENT_BINS * floor))
            total = weights = 0.0
            for k, hz in enumerate(np.arange(length // 2 + 1) * RATE / length):
                if lowest <= hz < 4_100:
                    total += math.log(1 + abs(mine[k] - spectrum[k]) ** 2 / (power[k] + floor)) / hz
                    weights += 1 / hz
            losses.append((length, total / weights))
    return float(np.mean([np.mean([loss for of, loss in losses if of == length]) for length in (4_000, 1_000)]))


def test_the_teacher_itself_costs_nothing_and_loudness_next_to_nothing() -> None:
    clean = tone(440.0)
    assert spectral_loss(clean, clean, RATE).item() == pytest.approx(0, abs=1e-4)
    assert spectral_loss(0.5 * clean, clean, RATE).item() == pytest.approx(0, abs=1e-4)
    assert spectral_loss(torch.zeros_like(clean), clean, RATE).item() > 0.05


def test_it_hears_a_faint_rumble_that_the_likelihood_does_not() -> None:
    clean, rumble = tone(440.0), tone(90.0, amplitude=1.0)
    losses = [spectral_loss(clean + level * rumble, clean, RATE).item() for level in (1e-4, 4e-4, 1.6e-3)]
    assert losses[0] < losses[1] < losses[2]
    assert losses[2] > 0.5  # 42 dB below the music
    # The same power in the music's own partial is hardly worth a thing.
    assert spectral_loss(clean + 1.6e-3 * tone(440.0, amplitude=1.0), clean, RATE).item() < 1e-3


def both_by_definition(means: np.ndarray, clean: np.ndarray) -> tuple[float, float]:
    """Of one slice [4000]: windows of 4000, 1024 and 256 samples, bin by bin."""
    distances, discords = [], []
    for length, lowest in ((4_000, 28.0), (1_024, 31.25), (256, 125.0)):
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
        starts = range(0, 4_000 - length + 1, length // 4)
        theirs = [np.fft.rfft(clean[start : start + length] * window) for start in starts]
        floor = max((np.abs(spectrum) ** 2).max() for spectrum in theirs) * 10 ** (DISTANCE_FLOOR_DB / 10)
        of_windows, of_phases = [], []
        for start, spectrum in zip(starts, theirs, strict=True):
            mine = np.fft.rfft(means[start : start + length] * window)
            power, own = np.abs(spectrum) ** 2, np.abs(mine) ** 2
            total, agreed, weights, heard = 0.0, 0.0, 0.0, np.zeros(2)
            for k, hz in enumerate(np.arange(length // 2 + 1) * RATE / length):
                if lowest <= hz < 7_600:
                    weight = (1.0 if hz < 4_100 else 0.3) / hz
                    heard += np.array([own[k], power[k]])
                    total += weight * huber(0.5 * math.log((own[k] + floor) / (power[k] + floor)))
                    cosine = math.cos(np.angle(mine[k]) - np.angle(spectrum[k])) * math.sqrt(own[k] * power[k])
                    agreed += weight * cosine / math.sqrt((own[k] + floor) * (power[k] + floor))
                    weights += weight
            quiet = SILENT_BINS * floor
            level = 0.5 * math.log((heard[0] + quiet) / (heard[1] + quiet))
            of_windows.append(total / weights + 0.5 * abs(level))
            of_phases.append(1 - agreed / weights)
        distances.append(np.mean(of_windows))
        discords.append(np.mean(of_phases))
    return float(np.mean(distances)), float(np.mean(discords))


def distance_by_definition(means: np.ndarray, clean: np.ndarray) -> float:
    return both_by_definition(means, clean)[0]


def huber(error: float) -> float:
    return error**2 / 2 if abs(error) < 1 else abs(error) - 0.5


@pytest.mark.parametrize(
    ("loss", "definition", "gain"),
    [(spectral_loss, by_definition, 0.8), (distance, distance_by_definition, 0.5)],
)
def test_each_is_what_its_definition_says(loss: Loss, definition: Definition, gain: float) -> None:
    torch.manual_seed(0)
    clean = tone(330.0) * torch.linspace(1, 0.1, 4_000)
    means = gain * clean + 0.01 * torch.randn(1, 4_000)
    expected = definition(means[0].double().numpy(), clean[0].double().numpy())
    assert loss(means, clean, RATE).item() == pytest.approx(expected, rel=1e-3)
    other = tone(500.0)
    both = loss(torch.cat([means, other]), torch.cat([clean, other]), RATE).item()
    assert both == pytest.approx(expected / 2, rel=1e-3)


def test_discord_is_what_its_definition_says() -> None:
    torch.manual_seed(0)
    clean = tone(330.0) * torch.linspace(1, 0.1, 4_000) + tone(1_210.0, amplitude=0.05)
    means = 0.5 * torch.roll(clean, 7, dims=1) + 1e-4 * torch.randn(1, 4_000)
    expected = both_by_definition(means[0].double().numpy(), clean[0].double().numpy())[1]
    assert 0.2 < expected < 1.5
    assert discord(means, clean, RATE).item() == pytest.approx(expected, rel=1e-3)


def test_discord_is_of_phases_alone_and_of_what_is_heard() -> None:
    generator = torch.Generator().manual_seed(0)
    noise, other = 0.1 * torch.randn(2, 1, 40_000, generator=generator)
    assert discord(noise, noise, RATE).item() == pytest.approx(0, abs=1e-4)
    assert discord(0.1 * noise, noise, RATE).item() == pytest.approx(0, abs=1e-3)
    assert discord(-noise, noise, RATE).item() == pytest.approx(2, abs=1e-4)
    assert discord(other, noise, RATE).item() == pytest.approx(1, abs=0.05)
    assert discord(0 * noise, noise, RATE).item() == 1


def test_a_hiss_in_silence_costs_less_than_missing_music() -> None:
    clean, hiss = tone(440.0), 1e-4 * torch.randn(1, 4_000, generator=torch.Generator().manual_seed(0))
    in_silence = distance(hiss, torch.zeros_like(clean), RATE).item()
    assert 0.1 < in_silence < 0.5 * distance(torch.zeros_like(clean), clean, RATE).item()


def test_phases_do_not_matter_to_the_distance_but_pitch_level_and_timbre_do() -> None:
    n = 32 * 200  # whole periods of 500 Hz
    clean = tone(500.0, n=n)
    shifted = torch.roll(clean, 5, dims=1)
    assert spectral_loss(shifted, clean, RATE).item() > 0.1
    near = distance(shifted, clean, RATE).item()
    assert near < 0.01
    for other in (tone(530.0, n=n), 0.5 * clean, torch.sin(2 * np.pi * 500 / RATE * torch.arange(n))[None]):
        assert distance(other, clean, RATE).item() > 10 * near


@pytest.mark.parametrize("loss", [spectral_loss, distance, discord])
@pytest.mark.parametrize("n", [50, 1_000, 4_000])
def test_silence_and_short_slices_have_finite_gradients(loss: Loss, n: int) -> None:
    for clean in (torch.zeros(2, n), tone(440.0, n=n)):
        means = torch.zeros_like(clean).requires_grad_()
        loss(means, clean, RATE).backward()
        assert means.grad is not None
        assert torch.isfinite(means.grad).all()
