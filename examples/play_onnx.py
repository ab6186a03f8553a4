"""Play a note of an exported network: python examples/play_onnx.py trumpet.onnx note.wav KEY VELOCITY SECONDS"""

import sys

import numpy as np
import onnxruntime
import soundfile

RATE, TABLE = 44_100, 1 << 17


def noise_tables(n_bands: int, low: float, high: float) -> np.ndarray:
    """Noise of each band [B, TABLE], RMS 1: triangles of power, evenly spaced on a logarithmic scale of frequency."""
    place = np.log(np.maximum(np.fft.rfftfreq(TABLE, 1 / RATE), 1e-3) / low) / np.log(high / low) * (n_bands - 1)
    tables, rng = np.zeros((n_bands, TABLE)), np.random.default_rng(0)
    for band in range(n_bands):
        spectrum, near = np.zeros(len(place), complex), np.flatnonzero(np.abs(place - band) < 1)
        spectrum[near] = np.sqrt(1 - np.abs(place[near] - band)) * np.exp(2j * np.pi * rng.random(len(near)))
        tables[band] = np.fft.irfft(spectrum, TABLE)
    return tables / np.sqrt((tables**2).mean(axis=1, keepdims=True))


def play(session: onnxruntime.InferenceSession, key: int, velocity: int, held_s: float) -> np.ndarray:
    """A note and its release, float64 [n]; amplitudes are linear between points, which get rarer as a note goes on."""
    facts, grid = session.get_modelmeta().custom_metadata_map, [0.0]
    while grid[-1] < held_s + 3:
        grid.append(grid[-1] + min(max(0.12 * grid[-1], 0.002), 0.04))
    points, n_held = np.round(np.array(grid) * RATE) / RATE, int(np.searchsorted(grid, held_s)) + 1
    inputs = {"notes": [[key, velocity, 0, 0]], "time_s": [[0]], "release_s": [[-1]]}  # a note alone, just struck
    end_s = session.run(["end_s"], {name: np.float32(value) for name, value in inputs.items()})[0][0, 0]
    after = np.minimum(points[1:], end_s)
    time_s, since_s = np.append(points[:n_held], held_s + after), np.append(np.full(n_held, -1), after)
    inputs |= {"time_s": time_s[None], "release_s": since_s[None]}
    tones, noises, hz, _ = (v[0] for v in session.run(None, {n: np.float32(value) for n, value in inputs.items()}))
    levels, share = np.hstack([tones, noises]), (held_s - time_s[n_held - 2]) / np.diff(time_s)[n_held - 2]
    levels[n_held - 1] = (1 - share) * levels[n_held - 2] + share * levels[n_held - 1]  # cut where the key goes up
    levels[levels < 1e-5] = 0  # inaudible
    time_s[n_held - 1], samples = held_s, np.arange(round((held_s + end_s) * RATE))
    levels = np.array([np.interp(samples / RATE, time_s, level) for level in levels.T]) * float(facts["level"])
    sines = np.sin(2 * np.pi * (hz * (hz < 0.49 * RATE))[:, None] * samples / RATE)
    tables = noise_tables(noises.shape[1], *map(float, facts["bands_hz"].split()))
    return (levels * np.vstack([sines, tables[:, (samples + 102_931 * key) % TABLE]])).sum(axis=0)


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    network, out, key, velocity, held_s = sys.argv[1:]
    session = onnxruntime.InferenceSession(network)
    soundfile.write(out, play(session, int(key), int(velocity), float(held_s)), RATE)
