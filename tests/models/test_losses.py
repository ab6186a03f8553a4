"""The spectral distance against the same in plain torch."""

from __future__ import annotations

import pytest
import torch

from synthnet.models.losses import CQT_WEIGHT, FLOOR, LINEAR_WEIGHT, SILENCE, SpectralDistance, spectral_distance

RATE_HZ = 16_000


def plain_distance(distance: SpectralDistance, signal: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """The formula of the module by torch's own operations; the constant-Q magnitudes are the module's."""

    def parts(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        top = b.amax((1, 2), keepdim=True).clamp(min=SILENCE)
        return (torch.log(a + FLOOR * top) - torch.log(b + FLOOR * top)).abs().mean(), ((a - b).abs() / top).mean()

    total = CQT_WEIGHT * parts(distance.cqt_magnitudes(signal), distance.cqt_magnitudes(reference))[0]
    for n in (2048, 1024, 512, 256, 128):
        hann = 0.5 - 0.5 * torch.cos(2 * torch.pi * torch.arange(n) / n)
        a, b = (torch.fft.rfft(x.unfold(1, n, n // 2) * hann).abs() / n**0.5 for x in (signal, reference))
        log, linear = parts(a, b)
        total = total + log + LINEAR_WEIGHT * linear
    return total


def test_value_and_gradient_are_those_of_the_formula() -> None:
    torch.manual_seed(0)
    reference, signal = torch.randn(3, 9_000) * 0.1, torch.randn(3, 9_000) * 0.1
    reference[1] *= 1e-3  # each row is measured against its own maximum
    signal[1] *= 1e-3
    distance = spectral_distance(RATE_HZ)
    results = []
    for measure in (distance, lambda *x: plain_distance(distance, *x)):
        x = signal.clone().requires_grad_()
        value = measure(x, reference)
        value.backward()
        results.append((value.item(), x.grad))
    (mine, gradient), (expected, theirs) = results
    assert mine == pytest.approx(expected, rel=1e-5)
    for row in range(3):
        torch.testing.assert_close(gradient[row], theirs[row], rtol=0, atol=1e-3 * float(theirs[row].abs().max()))


def test_the_gradient_is_scaled_by_what_comes_from_above() -> None:
    torch.manual_seed(0)
    reference, signal = torch.randn(1, 9_000), torch.randn(1, 9_000, requires_grad=True)
    once = torch.autograd.grad(spectral_distance(RATE_HZ)(signal, reference), signal)[0]
    thrice = torch.autograd.grad(3 * spectral_distance(RATE_HZ)(signal, reference), signal)[0]
    torch.testing.assert_close(thrice, 3 * once)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100])
def test_equal_signals_have_no_distance(rate_hz: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 20_000) * 0.1
    assert spectral_distance(rate_hz)(x, x).item() < 1e-6
    assert spectral_distance(rate_hz)(0.5 * x, x).item() > 1


def test_silence_is_finite() -> None:
    torch.manual_seed(0)
    noise = torch.randn(1, 9_000) * 0.1
    for reference in (torch.zeros(1, 9_000), noise):
        for signal in (torch.zeros(1, 9_000), noise):
            x = signal.clone().requires_grad_()
            value = spectral_distance(RATE_HZ)(x, reference)
            value.backward()
            assert torch.isfinite(value)
            assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100])
def test_the_shortest_signals(rate_hz: int) -> None:
    distance = spectral_distance(rate_hz)
    x = torch.randn(1, distance.shortest)
    assert distance(0.5 * x, x) > 0
    with pytest.raises(RuntimeError):
        distance(x[:, distance.factor :], x[:, distance.factor :])
    assert distance.shortest < 0.7 * rate_hz
