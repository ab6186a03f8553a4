"""Sound files in and out."""

from __future__ import annotations

import contextlib
import io
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from synthnet.audio import HIGHEST_RATE_HZ, LOWEST_RATE_HZ
from synthnet.files import InputError, atomic_write

LONGEST_SAMPLES = 2**28  # of a recording: 1.7 hours at 44.1 kHz, a gigabyte in memory
_LOUDEST = 16.0  # 24 dB over full scale: a float file beyond it holds integers or noise, not samples
_VALUES_PER_BLOCK = 2**20
# libsndfile's name of the format of each ending, and of its encodings by bits; lossy formats have no choice.
FORMATS = {
    ".wav": ("WAV", {"16": "PCM_16", "24": "PCM_24", "float": "FLOAT"}),
    ".flac": ("FLAC", {"16": "PCM_16", "24": "PCM_24"}),
    ".ogg": ("OGG", {"16": "VORBIS"}),
    ".opus": ("OGG", {"16": "OPUS"}),
    ".mp3": ("MP3", {"16": "MPEG_LAYER_III"}),
}
LOSSY = (".ogg", ".opus", ".mp3")  # what they hold may be louder than what was written
_COMMENT = "made by SynthNet"  # in every file; libsndfile keeps no other field in MP3


@dataclass(frozen=True)
class Audio:
    """A recording: float32 samples, [n] if mono, [n, 2] if stereo, full scale +-1; remarks on what reading changed."""

    samples: np.ndarray
    sample_rate_hz: int
    remarks: tuple[str, ...] = ()

    def save(self, path: str | Path) -> None:
        """Write a sound file of 16 bits, see `write_audio`."""
        write_audio(Path(path), self.samples, self.sample_rate_hz, marked=True)


def read_channels(path: Path) -> tuple[np.ndarray, int]:
    """The samples of any sound file that libsndfile knows, float32 [n, channels], and its rate in Hz.

    Float files may exceed full scale by up to 24 dB. Raises InputError when the file is missing, unreadable, not a
    sound file, damaged, shorter than its header says (except a WAV whose length a pipe left open), longer than 2^28
    samples, empty, at a rate outside 1 to 768 kHz, or holds values that are not samples.
    """
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path}: not a file")
        with _opened(path) as file:
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
        if len(samples) * sample_rate_hz > LONGEST_SAMPLES * rate_hz:
            raise InputError(f"{path}: {len(samples) / rate_hz:,.0f} s are too long at {sample_rate_hz} Hz")
        samples = soxr.resample(samples, rate_hz, sample_rate_hz, "VHQ")
        remarks.append(f"{path}: resampled from {rate_hz} Hz to {sample_rate_hz} Hz")
    if not len(samples):
        raise InputError(f"{path}: no samples")
    return Audio(samples, sample_rate_hz or rate_hz, tuple(remarks))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """A sound file to read, by descriptor: its content decides the format, not its ending, and any name will do."""
    with open(path, "rb") as raw, soundfile.SoundFile(raw.fileno(), closefd=False) as file:
        yield file


def _read_blocks(path: Path, file: soundfile.SoundFile) -> np.ndarray:
    """All samples, float32 [n, channels], read in blocks: a header may claim more than any memory holds."""
    if not LOWEST_RATE_HZ <= file.samplerate <= HIGHEST_RATE_HZ:
        raise InputError(f"{path}: a sample rate of {file.samplerate} Hz is outside 1 to 768 kHz")
    if file.frames > LONGEST_SAMPLES:  # a few kilobytes may hold days of silence
        raise InputError(f"{path}: {file.frames:,} samples by its header; at most {LONGEST_SAMPLES:,} are read")
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


def write_audio(path: Path, samples: np.ndarray, sample_rate_hz: int, *, marked: bool = False) -> None:
    """Write samples [n] or [n, 2] atomically, in 16 bits without dither; formats, mark and errors as for `encode`."""
    check_encoding(Path(path), sample_rate_hz)
    blocks, channels = np.array_split(samples, len(samples) // _VALUES_PER_BLOCK + 1), samples[:1].size or 1
    with atomic_write(path) as beside:
        encode(beside, blocks, sample_rate_hz, channels=channels, marked=marked)


def encode(
    path: Path,
    blocks: Iterable[np.ndarray],
    sample_rate_hz: int,
    bits: int | str = 16,
    dither: np.random.Generator | None = None,
    *,
    channels: int = 1,
    marked: bool = True,
) -> None:
    """Write blocks of samples [n] or [n, channels] as a WAV, FLAC, Ogg Vorbis, Opus or MP3 file, by the ending.

    Integers are rounded and clipped to full scale +-1, with triangular dither of one step either way where a generator
    is given (Lipshitz, Wannamaker and Vanderkooy 1992).

    Args:
        bits: 16, 24 or "float", where the format has them.
        marked: whether a comment marks the file for `made_here`; not in corpora, whose bytes are compared.

    Raises:
        InputError: see `check_encoding`.
        OSError: the disk refuses.
    """
    with _Sink(path, "w") as sink:
        try:
            with _open_sound(path, sink, sample_rate_hz, bits, channels) as file:
                is_pcm = file.subtype.startswith("PCM")
                if marked:
                    file.comment = _COMMENT
                for block in blocks:
                    samples = _rounded(block, int(bits), dither) if is_pcm else np.asarray(block, np.float32)
                    file.write((samples * 2.0**31).astype(np.int32) if is_pcm else samples)
                    if sink.error:
                        break
        finally:
            if sink.error:
                raise sink.error


def read_blocks(path: Path) -> Iterator[np.ndarray]:
    """The samples of a sound file that this package wrote, float32 [n, channels], in blocks."""
    with _opened(path) as file:
        yield from file.blocks(_VALUES_PER_BLOCK, dtype="float32", always_2d=True)


def _rounded(samples: np.ndarray, bits: int, dither: np.random.Generator | None) -> np.ndarray:
    """Samples of any shape, float64, as multiples of 2^(1 - bits)."""
    scale = 2.0 ** (bits - 1)
    steps = np.asarray(samples, np.float64) * scale
    if dither is not None:
        steps += np.diff(dither.random((*steps.shape, 2)))[..., 0]
    rounded: np.ndarray = np.clip(np.rint(steps), -scale, scale - 1) / scale
    return rounded


def check_encoding(path: Path, sample_rate_hz: int, bits: int | str = 16, n_values: int = 0) -> None:
    """Raise InputError where `encode` cannot write so many samples, those of all channels, as a file of this ending."""
    _open_sound(path, io.BytesIO(), sample_rate_hz, bits).close()
    n_bytes = n_values * (4 if bits == "float" else int(bits) // 8)
    if path.suffix.lower() == ".wav" and n_bytes > 2**32 - 4096:  # the header needs less
        raise InputError(
            f"{path}: {n_bytes / 2**30:.1f} GiB are more than a WAV file can hold, 4; choose .flac with -o"
        )


def made_here(path: Path) -> bool:
    """Whether a file is a sound file that this package wrote."""
    try:
        with _opened(path) as file:
            return str(file.comment) == _COMMENT
    except soundfile.LibsndfileError:
        return False


def _open_sound(
    path: Path, stream: io.BytesIO | _Sink, sample_rate_hz: int, bits: int | str, channels: int = 1
) -> soundfile.SoundFile:
    """An encoder into `stream`, of the format that the ending of `path` names."""
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        *most, last = FORMATS
        raise InputError(f"{path}: the name of a sound file to write must end in {', '.join(most)} or {last}")
    name, encodings = FORMATS[ending]
    if str(bits) not in encodings:
        raise InputError(f"{path}: {ending[1:]} files have no choice of {bits} bits; there is {', '.join(encodings)}")
    try:
        file = soundfile.SoundFile(stream, "w", sample_rate_hz, channels, subtype=encodings[str(bits)], format=name)
    except (soundfile.LibsndfileError, ValueError) as error:  # ValueError: soundfile does not know the format
        why = getattr(error, "error_string", str(error)).removeprefix("Error : ").rstrip(".")
        raise InputError(f"{path}: can't write {ending[1:]} at {sample_rate_hz} Hz ({why})") from error
    return file


class _Sink(io.FileIO):
    """A file for libsndfile, which swallows exceptions of `write`: the first one is kept in `error`."""

    error: BaseException | None = None

    def write(self, data: Any) -> int:
        left = memoryview(data)
        try:
            while left:  # a nearly full disk takes a part and refuses at the next call
                left = left[super().write(left) :]
        except BaseException as error:
            self.error = self.error or error
        return len(data) - len(left)
