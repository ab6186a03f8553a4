"""The mix of a song: sounds of tracks become one file, and a file for each track alone.

A track takes its level, its channel's volume and expression, and its place between left and right at constant power:

    left = sqrt(2) cos(p pi / 2), right = sqrt(2) sin(p pi / 2), where p goes from 0, left, to 1, right

So a track in the centre is on either side as loud as in a mono mix, and 3 dB louder on one side alone. The angles are
those of MIDI's recommended practice RP-036, the levels FluidSynth's.

The mix is a draft of floats without a name until its true peak and its loudness are known. Then the mix and its stems
take one gain, are dithered once and encoded.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt
import soxr

from synthnet.audio.files import LOSSY, Audio, check_encoding, encode, made_here, read_blocks
from synthnet.audio.meters import Loudness, TruePeak, true_peak
from synthnet.files import InputError, atomic_write
from synthnet.score.controllers import Controls
from synthnet.score.roll import RollEvents

HIGHEST_PEAK = 10 ** (-1 / 20)  # true peak: -1 dBFS
LIMIT = 10 ** (-1.04 / 20)  # aimed at: dither and rounding add up to 1.5 steps of 16 bits, and meters differ by 0.02 dB
BLOCK_S = 0.25
DRAFT_BYTES = 1 << 18  # of a mix that are encoded at once

Blocks = Iterator[np.ndarray]


class Source(NamedTuple):
    """Sounds that come together: those of some tracks, by number.

    Blocks are float32, [T, n] of mono sounds or [T, n, 2] of stereo ones. A channel's volume and pan are not in them.
    """

    tracks: Sequence[int]
    blocks: Blocks
    sample_rate_hz: int


class Strip(NamedTuple):
    """How a track stands in the mix.

    Attributes:
        level: factor of its sound.
        controls: of its channel, of which `gain` and `pan` count here.
        roll: its notes, at the rate of the mix.
    """

    level: float
    controls: Controls
    roll: RollEvents


@dataclass(frozen=True)
class Written:
    """What came of a mix.

    Attributes:
        true_peak: of the mix in the file, linear; at most 0.891, -1 dBFS.
        gain: factor that the mix and its stems took, 1.0 for none.
        loudness_lufs: integrated loudness of the file; None if none was asked for, or if it is silent.
    """

    n_samples: int
    true_peak: float
    gain: float
    loudness_lufs: float | None


class Mixer:
    """Brings sounds to their places in the mix.

    Args:
        strips: one a track; a track without a source is silent.
        samples: of the song, at the rate of the mix.
    """

    def __init__(
        self, sources: Sequence[Source], strips: Sequence[Strip], samples: range, sample_rate_hz: int, mono: bool
    ) -> None:
        self.sources, self.strips, self.samples = sources, strips, samples
        self.sample_rate_hz, self.channels = sample_rate_hz, 1 if mono else 2
        self._energy, self._sounding = np.zeros(len(strips)), np.zeros(len(strips))

    @property
    def rms(self) -> np.ndarray:
        """Root mean square of each track's sound while its keys were down, float64 [T]; nan where none was."""
        with np.errstate(invalid="ignore"):
            return np.sqrt(self._energy / self._sounding)

    def blocks(self) -> Blocks:
        """All tracks as they stand in the mix, float32 [T, n, channels], in blocks of a quarter of a second."""
        start, n_block = self.samples.start, round(BLOCK_S * self.sample_rate_hz)
        played = [_even_blocks(self._at_rate(source), n_block) for source in self.sources]
        for parts in zip(*played, strict=True):
            block = np.zeros((len(self.strips), parts[0].shape[1], self.channels), np.float32)
            for source, sounds in zip(self.sources, parts, strict=True):
                for number, sound in zip(source.tracks, sounds, strict=True):
                    block[number] = self._place(number, sound, start)
            yield block
            start += block.shape[1]

    def _place(self, number: int, sound: np.ndarray, start: int) -> np.ndarray:
        """A track's sound, [n] or [n, 2], as it stands in the mix, [n, channels]."""
        n, (level, controls, roll) = len(sound), self.strips[number]
        down = _keys_down(roll, start, n)
        self._energy[number] += float((sound[down] ** 2).sum()) / (sound.size / n)
        self._sounding[number] += down.sum()
        gain = level * np.reshape(controls.smoothed("gain", start, n, self.sample_rate_hz), (-1, 1))
        if self.channels == 1:
            return gain * np.reshape(sound, (n, -1)).mean(axis=1, keepdims=True)
        sides = pan_gains(controls.smoothed("pan", start, n, self.sample_rate_hz))
        return gain * np.reshape(sound, (n, -1)) * sides

    def _at_rate(self, source: Source) -> Blocks:
        """A source's blocks at the rate of the mix and of its length."""
        rate, n_tracks, left = source.sample_rate_hz, len(source.tracks), len(self.samples)
        if rate == self.sample_rate_hz:
            yield from source.blocks
            return
        resampler = soxr.ResampleStream(rate, self.sample_rate_hz, n_tracks, dtype="float32")
        for block in itertools.chain(source.blocks, [np.zeros((n_tracks, 0), np.float32)]):
            columns = np.ascontiguousarray(block.T, np.float32)
            made = resampler.resample_chunk(columns, last=not block.size).reshape(-1, n_tracks).T[:, :left]
            left -= made.shape[1]
            yield made
        yield np.zeros((n_tracks, left), np.float32)


def pan_gains(place: npt.ArrayLike) -> np.ndarray:
    """Factors [..., 2] of the left and the right side, for places [...] from 0, left, to 1, right."""
    angle = np.asarray(place, np.float32) * np.float32(math.pi / 2)
    sides: np.ndarray = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * np.float32(math.sqrt(2))
    return sides


def mix_in_memory(mixer: Mixer) -> Audio:
    """The mix of all tracks, turned down if its true peak would exceed -1 dBFS."""
    blocks = [np.zeros((0, mixer.channels), np.float32), *(block.sum(axis=0) for block in mixer.blocks())]
    mix = np.concatenate(blocks) * np.float32(_gain(true_peak(blocks, mixer.sample_rate_hz, mixer.channels)))
    return Audio(mix[:, 0] if mixer.channels == 1 else mix, mixer.sample_rate_hz)


def write_mix(
    mixer: Mixer,
    path: Path,
    stems: Mapping[int, Path],
    *,
    bits: int | str = 16,
    lufs: float | None = None,
    seed: int = 0,
    source: Path | None = None,
    force: bool = False,
) -> Written:
    """Write the mix to `path`, in constant memory.

    The gain is 1, or what brings the mix to a loudness; less where the true peak of a file would exceed -1 dBFS. After
    an exception, also Ctrl-C, what was made is kept in NAME.partial.wav in the same way; the text of the
    KeyboardInterrupt says so.

    Args:
        stems: files that keep a track alone, as it stands in the mix, by its number.
        bits: 16, 24 or "float".
        lufs: integrated loudness of the mix.
        seed: of the dither.
        source: the MIDI file, which is not overwritten.
        force: whether files that this package did not make are overwritten.

    Raises:
        InputError: before anything is made, where a file cannot be written or must not be overwritten.
    """
    rate, channels, done = mixer.sample_rate_hz, mixer.channels, 0
    names = [path, *stems.values()]
    partial = list(map(_partial, names))
    for file in [*names, *partial]:
        check_encoding(file, rate, bits, channels * len(mixer.samples))
    check_outputs(names, source, force)
    meters = [TruePeak(rate, channels) for _ in names]
    loudness = None if lufs is None else Loudness(rate, channels)

    def finish(files: Sequence[Path]) -> Written:
        """Encode the drafts at one gain; the mix is renamed last."""
        peaks = [meter.read() for meter in meters]
        before_lufs = loudness.read() if loudness else -math.inf
        wanted_db = 0.0 if lufs is None or before_lufs == -math.inf else lufs - before_lufs
        gain = _gain(max(peaks), 10 ** (wanted_db / 20))
        with contextlib.ExitStack() as at_once:
            beside = [at_once.enter_context(atomic_write(file)) for file in files]
            while True:
                for number, (file, draft) in enumerate(zip(beside, drafts, strict=True)):
                    blocks, dither = _read(draft, done, channels, gain), np.random.default_rng((seed, number))
                    encode(file, blocks, rate, bits, dither, channels=channels)
                lossy = path.suffix.lower() in LOSSY
                heard = [true_peak(read_blocks(file), rate, channels) if lossy else 0.0 for file in beside]
                if max(heard) <= HIGHEST_PEAK:
                    break
                gain *= LIMIT / max(heard)  # the lossy format overshot
        after_lufs = None if before_lufs == -math.inf else before_lufs + 20 * math.log10(gain)
        return Written(done, heard[0] or peaks[0] * gain, gain, after_lufs)

    with contextlib.ExitStack() as open_files:
        folders = [folder for name in names for folder in name.absolute().parents if not folder.exists()]
        try:
            drafts = [open_files.enter_context(_draft(name)) for name in names]
            for block in mixer.blocks():
                outputs = [block.sum(axis=0), *(block[number] for number in stems)]
                for samples, meter, draft in zip(outputs, meters, drafts, strict=True):
                    meter.add(samples)
                    draft.write(samples.tobytes())
                if loudness:
                    loudness.add(outputs[0])
                done += block.shape[1]
            return finish(names)
        except BaseException as error:
            with contextlib.suppress(OSError):
                if done:
                    finish(partial)
            for folder in folders:
                with contextlib.suppress(OSError):
                    folder.rmdir()
            if isinstance(error, OSError):
                error.filename = error.filename or str(path)  # "no space left" comes without a name
            if done and isinstance(error, KeyboardInterrupt):
                kept = f"{path}: interrupted; the first {done / rate:.1f} s are in {partial[0]}"
                raise KeyboardInterrupt(kept + (" and in such files of the stems" if stems else "")) from None
            raise


def _gain(peak: float, wanted: float = 1.0) -> float:
    """The gain that is wanted, or that at which a true peak stays below -1 dBFS."""
    return min(wanted, LIMIT / peak) if peak else wanted


def _partial(name: Path) -> Path:
    """The file of a part of a mix that was broken off."""
    return name.with_name(f"{name.stem}.partial{name.suffix}")


def check_outputs(files: Sequence[Path], source: Path | None, force: bool) -> None:
    """Raise InputError for files of `write_mix` that would be written twice or must not be overwritten."""
    seen = set[str]()
    for file in [*files, *map(_partial, files)]:
        place = os.path.realpath(file)
        if place in seen:
            raise InputError(f"{file}: would be written twice, as the mix and as a stem; take another name or folder")
        seen.add(place)
        if not file.exists():
            continue
        if not file.is_file():
            raise InputError(f"{file}: is a folder" if file.is_dir() else f"{file}: not a file")
        if source is not None and source.exists() and file.samefile(source):
            raise InputError(f"{file}: is the song itself; choose another file with -o")
        if not force and file.stat().st_size and not made_here(file):
            raise InputError(f"{file}: exists, and SynthNet did not make it; --force overwrites it")


def _draft(name: Path) -> IO[bytes]:
    """A file without a name in the folder of another one, which is made."""
    try:
        name.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=name.parent)
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}") from error


def _read(draft: IO[bytes], n_samples: int, channels: int, gain: float) -> Blocks:
    """The samples of a draft in blocks [n, channels], times a gain."""
    draft.seek(0)
    left = 4 * channels * n_samples
    while left:
        data = draft.read(min(left, DRAFT_BYTES))
        left -= len(data)
        yield np.frombuffer(data, np.float32).reshape(-1, channels) * np.float32(gain)


def _keys_down(roll: RollEvents, start: int, n: int) -> np.ndarray:
    """Whether any key is down, bool [n], from sample `start` on."""
    begun, ended = (np.bincount(np.clip(at - start, 0, n), minlength=n + 1) for at in (roll.onset, roll.release))
    down: np.ndarray = np.cumsum(begun - ended)[:n] > 0
    return down


def _even_blocks(blocks: Blocks, n: int) -> Blocks:
    """The same sounds in blocks of n samples, the last one shorter."""
    waiting: list[np.ndarray] = []
    for block in blocks:
        waiting = [np.concatenate([*waiting, block], axis=1)]
        while waiting[0].shape[1] >= n:
            yield waiting[0][:, :n]
            waiting = [waiting[0][:, n:]]
    if waiting and waiting[0].shape[1]:
        yield waiting[0]
