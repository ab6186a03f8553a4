"""Sound files in and out."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from synthnet.files import InputError, atomic_write

_LOWEST_RATE_HZ, _HIGHEST_RATE_HZ = 1_000, 768_000
_LOUDEST = 16.0  # 24 dB over full scale: a float file beyond it holds integers or noise, not samples
_VALUES_PER_BLOCK = 2**20
_FORMATS = {".wav": "WAV", ".flac": "FLAC"}


@dataclass(frozen=True)
class Audio:
    """A mono recording: float32 samples [n], full scale +-1, and remarks on what reading changed."""

    samples: np.ndarray
    sample_rate_hz: int
    remarks: tuple[str, ...] = ()

    def save(self, path: str | Path) -> None:
        """Write a WAV or FLAC file (by the ending) of 16 bits; raises as `write_audio`."""
        write_audio(Path(path), self.samples, self.sample_rate_hz)


def read_channels(path: Path) -> tuple[np.ndarray, int]:
    """The samples of any sound file that libsndfile knows, float32 [n, channels], and its rate in Hz.

    Float files may exceed full scale by up to 24 dB. Raises InputError when the file is missing, unreadable, not a
    sound file, damaged, shorter than its header says (except a WAV whose length a pipe left open), empty, at a rate
    outside 1 to 768 kHz, or holds values that are not samples.
    """
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path}: not a file")
        # Opened by descriptor, so that the content decides the format, not the ending.
        with open(path, "rb") as raw, soundfile.SoundFile(raw.fileno(), closefd=False) as file:
            samples, rate_hz = _read_blocks(path, file), file.samplerate
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except soundfile.LibsndfileError as error:
        raise InputError(f"{path}: not a readable sound file ({error.error_string.rstrip('.')})") from error
    if not len(samples):
        raise InputError(f"{path}: no samples")
    return samples, rate_hz


def read_audio(path: Path, sample_rate_hz: int | None = None) -> Audio:
    """Read a sound file as mono, the mean of its channels; resampled (soxr, VHQ) if asked.

    Raises InputError as `read_channels`, and when resampling leaves nothing.
    """
    channels, rate_hz = read_channels(path)
    samples, remarks = channels.mean(axis=1), []
    if (n_channels := channels.shape[1]) > 1:
        layout = "stereo" if n_channels == 2 else f"{n_channels} channels"
        remarks.append(f"{path}: {layout}, mixed down to mono")
    if sample_rate_hz not in (None, rate_hz):
        samples = soxr.resample(samples, rate_hz, sample_rate_hz, "VHQ")
        remarks.append(f"{path}: resampled from {rate_hz} Hz to {sample_rate_hz} Hz")
    if not len(samples):
        raise InputError(f"{path}: no samples")
    return Audio(samples, sample_rate_hz or rate_hz, tuple(remarks))


def _read_blocks(path: Path, file: soundfile.SoundFile) -> np.ndarray:
    """All samples, float32 [n, channels], read in blocks: a header may claim more than any memory holds."""
    if not _LOWEST_RATE_HZ <= file.samplerate <= _HIGHEST_RATE_HZ:
        raise InputError(f"{path}: a sample rate of {file.samplerate} Hz is outside 1 to 768 kHz")
    n_block = max(1, _VALUES_PER_BLOCK // file.channels)
    blocks = [np.zeros((0, file.channels), np.float32)]
    while len(block := file.read(n_block, dtype="float32", always_2d=True)):
        if not (np.abs(block) <= _LOUDEST).all():
            raise InputError(f"{path}: holds values that are not samples (not a number, or beyond +-16)")
        blocks.append(block)
    samples = np.concatenate(blocks)
    if len(samples) < file.frames:
        raise InputError(f"{path}: cut short, {len(samples)} of {file.frames} samples")
    return samples


def to_pcm16(samples: np.ndarray) -> np.ndarray:
    """Round samples to int16 steps of 1 / 32768, clipped; int16 / 32768 comes back unchanged."""
    return np.clip(np.rint(np.asarray(samples) * 32768.0), -32768, 32767).astype(np.int16)


def write_audio(path: Path, samples: np.ndarray, sample_rate_hz: int) -> None:
    """Write samples [n] as a 16-bit WAV or FLAC (by the ending), atomically.

    Raises InputError for another ending or a rate that the format cannot hold, OSError when the disk refuses.
    """
    encoded = io.BytesIO()  # libsndfile reports a full disk as an error without a number, or not at all
    with _open_sound(path, encoded, sample_rate_hz, 16) as file:
        file.write(to_pcm16(samples))
    with atomic_write(path) as beside:
        beside.write_bytes(encoded.getvalue())


def _open_sound(path: Path, stream: io.BytesIO | _Sink, sample_rate_hz: int, bits: int) -> soundfile.SoundFile:
    """An encoder into `stream`, of the format that the ending of `path` names."""
    file_format = _FORMATS.get(Path(path).suffix.lower())
    if file_format is None:
        raise InputError(f"{path}: the name of a sound file to write must end in .wav or .flac")
    try:
        return soundfile.SoundFile(stream, "w", sample_rate_hz, 1, subtype=f"PCM_{bits}", format=file_format)
    except soundfile.LibsndfileError as error:
        raise InputError(f"{path}: can't write {file_format} at {sample_rate_hz} Hz") from error


class AudioWriter:
    """Context manager that writes a WAV or FLAC (by the ending) of 16 or 24 bits in blocks, in constant memory.

    The blocks go to `partial_path` (NAME.partial.wav), which is renamed to `path` when the `with` block ends well.
    After an exception what was written stays there, closed and playable (but a full disk cuts a FLAC's last frame and
    leaves its length open). Raises InputError for another ending, a folder, or a rate that the format cannot hold.
    """

    def __init__(self, path: Path, sample_rate_hz: int, bits: int = 16) -> None:
        self.path, self.sample_rate_hz, self.bits = Path(path), sample_rate_hz, bits
        self.partial_path = self.path.with_name(f"{self.path.stem}.partial{self.path.suffix}")
        self._n_written = 0
        _open_sound(self.path, io.BytesIO(), sample_rate_hz, bits).close()  # a bad ending or rate fails here
        if self.path.is_dir():
            raise InputError(f"{path}: is a folder")

    def __enter__(self) -> AudioWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._sink = _Sink(self.partial_path, "w")
        self._file = _open_sound(self.path, self._sink, self.sample_rate_hz, self.bits)
        return self

    def write(self, block: np.ndarray) -> None:
        """Append samples [n], clipped to full scale +-1."""
        self._sink.run(self._file.write, to_pcm16(block) if self.bits == 16 else np.clip(block, -1.0, 1.0 - 2.0**-23))
        self._n_written += len(block)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._sink.run(self._file.close)
            self._sink.close()
            if kind is None:
                os.replace(self.partial_path, self.path)
        except OSError:
            if kind is None:  # else the exception that ends the `with` block says more
                raise
        finally:
            self._sink.close()
            if not self._n_written:
                self.partial_path.unlink(missing_ok=True)


def scale_audio(path: Path, gain: float) -> None:
    """Multiply a mono WAV or FLAC file by a gain in place, atomically; it has 16 bits then."""
    with AudioWriter(path, soundfile.info(path).samplerate) as writer, soundfile.SoundFile(path) as file:
        for block in file.blocks(_VALUES_PER_BLOCK, dtype="float32"):
            writer.write(block * np.float32(gain))


class _Sink(io.FileIO):
    """A file for libsndfile, which swallows exceptions of `write`: `run` raises them after the call."""

    error: BaseException | None = None

    def write(self, data: Any) -> int:
        left = memoryview(data)
        try:
            while left:  # a nearly full disk takes a part and refuses at the next call
                left = left[super().write(left) :]
        except BaseException as error:
            if isinstance(error, OSError):
                error.filename = error.filename or self.name  # "no space left" comes without a name
            self.error = error
        return len(data) - len(left)

    def run(self, call: Callable[..., object], *arguments: object) -> None:
        """Call the encoder, then raise the exception with which the file refused meanwhile."""
        try:
            call(*arguments)
        finally:
            if self.error is not None:
                error, self.error = self.error, None
                raise error
