"""A score to a sound file: every track generated, mixed, written as it is made."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synthnet.audio import AudioWriter, scale_audio
from synthnet.generation.chunks import generate_in_chunks
from synthnet.generation.streams import Stream, generate
from synthnet.models import Network
from synthnet.roll import roll_events, to_samples
from synthnet.score import Score

TAIL_S = 0.5  # after the last note, so that its release is heard
SILENT_RMS = 0.006  # just above the dither of a silent network, 0.0037
HIGHEST_PEAK = 0.99


@dataclass(frozen=True)
class Rendering:
    """What came out.

    Attributes:
        n_samples: length of the file.
        peak: largest absolute sample of the mix, before scaling.
        gain: by which the mix was scaled to keep it from clipping, 1.0 for none.
        silent_tracks: numbers of tracks that stayed silent while their notes sounded.
    """

    n_samples: int
    peak: float
    gain: float
    silent_tracks: tuple[int, ...]


def rendering_samples(score: Score, sample_rate_hz: int, duration_s: float | None) -> int:
    """Length of a rendering: as asked for, or to half a second after the last note."""
    return int(to_samples(score.end_s + TAIL_S if duration_s is None else duration_s, sample_rate_hz))


def render_score(
    network: Network,
    score: Score,
    path: Path,
    *,
    sample_rate_hz: int,
    n_samples: int,
    styles: Sequence[np.ndarray | None],
    seed: int = 0,
    temperature: float = 1.0,
    expectation: bool = False,
    stems: Path | None = None,
    engine: str = "auto",
    n_chunks: int = 1,
    progress: Callable[[int], None],
) -> Rendering:
    """Generate every track of a score and write the mix to `path`, in constant memory.

    Args:
        styles: one a track, None for a network with a single instrument.
        stems: a folder in which each track is kept by itself, as `01.wav`, `02.wav`, ...
        n_chunks: the piece is cut into chunks, so many of which advance side by side (`synthnet.generation.chunks`);
            1 generates it in one go.
        progress: called with the samples finished since the last call.

    Interrupted, what was made so far stays as a playable `NAME.partial.wav` (see `AudioWriter`).
    """
    streams = [
        Stream(roll_events(track.notes, sample_rate_hz), (seed, number), style)
        for number, (track, style) in enumerate(zip(score.tracks, styles, strict=True))
    ]
    energy, sounding, peak = np.zeros(len(streams)), np.zeros(len(streams)), 0.0
    with contextlib.ExitStack() as files:
        mix = files.enter_context(AudioWriter(path, sample_rate_hz))
        singles = []
        if stems is not None:
            names = [stems / f"{number + 1:02d}{path.suffix}" for number in range(len(streams))]
            singles = [files.enter_context(AudioWriter(name, sample_rate_hz)) for name in names]
        done = 0
        if n_chunks > 1:
            blocks = generate_in_chunks(
                network, streams, n_samples, n_chunks, temperature=temperature, engine=engine, progress=progress
            )
        else:
            blocks = generate(network, streams, n_samples, temperature=temperature, engine=engine)
        for made in blocks:
            block = made.expectation if expectation else made.sample
            # A sum of tracks can pass full scale: it is written as their mean and scaled up afterwards.
            mean = block.mean(axis=0)
            mix.write(mean)
            peak = max(peak, float(np.abs(mean).max()))
            for writer, samples in zip(singles, block, strict=False):
                writer.write(samples)
            for number, stream in enumerate(streams):
                sounds = np.zeros(block.shape[1], dtype=bool)
                for onset, release in zip(stream.events.onset - done, stream.events.release - done, strict=True):
                    sounds[max(onset, 0) : max(release, 0)] = True
                energy[number] += float((block[number, sounds] ** 2).sum())
                sounding[number] += sounds.sum()
            done += block.shape[1]
            if n_chunks == 1:
                progress(block.shape[1])
    n_streams, gain = len(streams), 1.0
    if n_streams > 1:
        gain = min(n_streams, HIGHEST_PEAK / peak) if peak else n_streams
        scale_audio(path, gain)
    rms = np.sqrt(energy / np.maximum(sounding, 1))
    silent = tuple(int(number) for number in np.flatnonzero((rms < SILENT_RMS) & (sounding > 0)))
    return Rendering(n_samples, peak * n_streams, gain / n_streams, silent)
