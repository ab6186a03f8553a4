"""Sound files against soundfile and closed forms, mu-law against its formula, dither against SciPy, and fuzz."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import soundfile

from synthnet.audio.files import Audio, encode, made_here, read_audio, read_blocks, write_audio
from synthnet.audio.mulaw import (
    CLASSES,
    DITHER_WIDTH,
    SILENCE,
    decode_mu_law,
    dither,
    dithered_class_probabilities,
    encode_mu_law,
)
from synthnet.files import InputError

RATE = 16_000
ENDINGS = (".wav", ".flac")
TRIANGULAR = scipy.stats.triang(0.5, loc=-DITHER_WIDTH, scale=2 * DITHER_WIDTH)


def some_pcm16(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-32768, 32768, n).astype(np.int16)


def sine(frequency_hz: float, rate_hz: int, seconds: float = 1.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


@contextlib.contextmanager
def full_disk(n_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond n_bytes: the kernel takes what fits, then refuses (EFBIG)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestMuLaw:
    def test_all_classes_survive(self) -> None:
        classes = np.arange(CLASSES, dtype=np.uint8)
        decoded = decode_mu_law(classes)
        assert decoded.dtype == np.float32
        assert (np.diff(decoded) > 0).all()
        assert decoded[0] == -1.0
        assert decoded[255] == 1.0
        encoded = encode_mu_law(decoded)
        assert encoded.dtype == np.uint8
        assert (encoded == classes).all()

    def test_silence(self) -> None:
        assert encode_mu_law(np.array([0.0, -0.0, 1e-12, -1e-12])).tolist() == [SILENCE, SILENCE, SILENCE, SILENCE - 1]
        assert abs(decode_mu_law(np.array(SILENCE))) < 1e-4

    def test_follows_the_formula(self) -> None:
        x = np.random.default_rng(1).uniform(-1.2, 1.2, 100_000)
        x[:50_000] *= 0.01
        f = np.sign(x) * np.log(1 + 255 * np.abs(x)) / np.log(256)
        assert (encode_mu_law(x) == np.clip(np.floor((f + 1) / 2 * 255 + 0.5), 0, 255)).all()
        shaped = x.astype(np.float32).reshape(10, -1)
        assert encode_mu_law(shaped).shape == shaped.shape

    def test_changes_at_the_boundaries(self) -> None:
        k = np.arange(1, CLASSES)
        f = (2 * k - 256) / 255  # where (f + 1) / 2 * 255 + 0.5 reaches k
        boundary = np.sign(f) * (256.0 ** np.abs(f) - 1) / 255
        assert (encode_mu_law(boundary + 1e-12) == k).all()
        assert (encode_mu_law(boundary - 1e-12) == k - 1).all()

    def test_error_is_at_most_half_a_step_of_the_curve(self) -> None:
        x = np.linspace(-1, 1, 10_001)
        curve = lambda v: np.sign(v) * np.log1p(255 * np.abs(v)) / np.log(256)  # noqa: E731
        assert np.abs(curve(decode_mu_law(encode_mu_law(x)).astype(np.float64)) - curve(x)).max() <= 1 / 255 + 1e-6


class TestDither:
    def test_is_triangular(self) -> None:
        noise = dither(200_000, np.random.default_rng(2))
        assert noise.dtype == np.float32
        assert np.abs(noise).max() < DITHER_WIDTH
        assert scipy.stats.kstest(noise.astype(np.float64), TRIANGULAR.cdf).pvalue > 0.01


class TestDitheredClassProbabilities:
    def test_against_scipy(self) -> None:
        clean = np.array([0.0, 1e-4, -0.003, 0.0117, 0.25, -0.7])
        inner = np.array([(2 * k - 256) / 255 for k in range(1, CLASSES)])
        boundary = np.concatenate([[-9], np.sign(inner) * (256.0 ** np.abs(inner) - 1) / 255, [9]])
        expected = np.diff(TRIANGULAR.cdf(boundary - clean[:, None]), axis=1)
        np.testing.assert_allclose(dithered_class_probabilities(clean), expected, atol=1e-13)

    def test_beyond_full_scale_is_clamped(self) -> None:
        assert dithered_class_probabilities(np.array([-1.5]))[0, 0] == 1
        assert dithered_class_probabilities(np.array([1.0]))[0, 255] == 1


class TestReadAudio:
    @pytest.mark.parametrize("ending", ENDINGS)
    def test_16_bits_come_back_unchanged(self, tmp_path: Path, ending: str) -> None:
        pcm, path = some_pcm16(70_000), tmp_path / f"a{ending}"
        write_audio(path, pcm / np.float32(32768), RATE)
        audio = read_audio(path)
        assert audio.sample_rate_hz == RATE
        assert audio.remarks == ()
        assert audio.samples.dtype == np.float32
        assert (audio.samples * 32768 == pcm).all()
        assert (read_audio(path, RATE).samples == audio.samples).all()
        assert read_audio(path, RATE).remarks == ()
        assert (soundfile.read(path, dtype="int16")[0] == pcm).all()
        assert soundfile.info(path).subtype == "PCM_16"

    @pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
    def test_other_codings(self, tmp_path: Path, subtype: str) -> None:
        path = tmp_path / "a.wav"
        soundfile.write(path, sine(440, RATE), RATE, subtype=subtype)
        expected = soundfile.read(path, dtype="float32")[0]
        assert (read_audio(path).samples == expected).all()
        np.testing.assert_allclose(expected, sine(440, RATE), atol=0.02)

    def test_channels_are_averaged(self, tmp_path: Path) -> None:
        stereo, many = tmp_path / "stereo.wav", tmp_path / "many.wav"
        left, right = sine(440, RATE), sine(550, RATE)
        soundfile.write(stereo, np.stack([left, right], 1), RATE, subtype="FLOAT")
        soundfile.write(many, np.stack([left] * 5, 1), RATE, subtype="FLOAT")
        audio = read_audio(stereo)
        np.testing.assert_allclose(audio.samples, (left + right) / 2, atol=1e-7)
        assert audio.remarks == (f"{stereo}: stereo, mixed down to mono",)
        assert read_audio(many).remarks == (f"{many}: 5 channels, mixed down to mono",)

    @pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 48_000])
    def test_resampling_keeps_time_and_level(self, tmp_path: Path, rate_hz: int) -> None:
        path = tmp_path / "a.wav"
        soundfile.write(path, sine(440, rate_hz), rate_hz, subtype="FLOAT")
        audio = read_audio(path, RATE)
        assert audio.sample_rate_hz == RATE
        assert audio.remarks == (f"{path}: resampled from {rate_hz} Hz to 16000 Hz",)
        assert len(audio.samples) == RATE
        middle = slice(1_000, -1_000)  # away from where the sine starts and stops
        np.testing.assert_allclose(audio.samples[middle], sine(440, RATE)[middle], atol=1e-4)

    def test_the_ending_does_not_matter(self, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "a.flac", some_pcm16(100), RATE)
        for name in ("a.raw", "a.wav", "a"):
            (tmp_path / name).write_bytes((tmp_path / "a.flac").read_bytes())
            assert (read_audio(tmp_path / name).samples * 32768 == some_pcm16(100)).all()


def wav_bytes(rate_hz: int = RATE, channels: int = 1, n_bytes: int | None = None, kind: int = 1) -> bytes:
    """A WAV file with a header of our own over 4000 bytes of data."""
    data = some_pcm16(2_000).tobytes() if kind == 1 else sine(440, 1_000).tobytes()
    claimed = len(data) if n_bytes is None else n_bytes
    bits = 16 if kind == 1 else 32
    align = channels * bits // 8
    form = struct.pack("<HHIIHH", kind, channels, rate_hz, rate_hz * align % 2**32, align % 2**16, bits)
    head = b"RIFF" + struct.pack("<I", min(36 + claimed, 2**32 - 1)) + b"WAVEfmt " + struct.pack("<I", 16) + form
    return head + b"data" + struct.pack("<I", claimed) + data


def float_wav(value: float) -> bytes:
    data = bytearray(wav_bytes(kind=3))
    data[1000 * 4 - 400 : 1000 * 4 - 396] = struct.pack("<f", value)
    return bytes(data)


BAD_FILES = {
    "empty": (b"", "not a readable sound file"),
    "text": (b"no sound at all\n" * 50, "not a readable sound file"),
    "half a header": (wav_bytes()[:30], "not a readable sound file"),
    "no samples": (wav_bytes(n_bytes=0)[:44], "no samples"),
    "no channels": (wav_bytes(channels=0), "not a readable sound file"),
    "60000 channels": (wav_bytes(channels=60_000), "not a readable sound file"),
    "rate 0": (wav_bytes(rate_hz=0), "not a readable sound file"),
    "rate 1": (wav_bytes(rate_hz=1), "a sample rate of 1 Hz is outside"),
    "rate 2 GHz": (wav_bytes(rate_hz=2_000_000_000), "a sample rate of 2000000000 Hz is outside"),
    "not a number": (float_wav(float("nan")), "not samples"),
    "infinite": (float_wav(float("-inf")), "not samples"),
    "integers as floats": (float_wav(20_000.0), "not samples"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_named_in_one_line(tmp_path: Path, name: str) -> None:
    content, error = BAD_FILES[name]
    path = tmp_path / "x.wav"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_audio(path, 8_000)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert error in message
    assert "\n" not in message


def test_float_files_may_exceed_full_scale(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(float_wav(-1.5))
    assert read_audio(path).samples.min() == -1.5


def test_a_wav_header_left_open_by_a_pipe_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(wav_bytes(n_bytes=2**32 - 1))
    assert (read_audio(path).samples * 32768 == some_pcm16(2_000)).all()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_half_a_flac_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "x.flac"
    soundfile.write(path, some_pcm16(50_000), RATE)
    path.write_bytes(path.read_bytes()[: round(path.stat().st_size * share)])
    with pytest.raises(InputError, match=r"x\.flac"):
        read_audio(path)


def test_things_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")  # must not wait for a writer
    for name, error in (("gone.wav", "No such file"), ("", "not a file"), ("pipe.wav", "not a file")):
        with pytest.raises(InputError, match=error):
            read_audio(tmp_path / name)
    with pytest.raises(InputError, match="name too long"):
        read_audio(tmp_path / ("x" * 5_000))


def test_unreadable_file(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    write_audio(tmp_path / "x.wav", sine(440, RATE), RATE)
    (tmp_path / "x.wav").chmod(0)
    request.getfixturevalue("ordinary_user")
    with pytest.raises(InputError, match="Permission denied"):
        read_audio(tmp_path / "x.wav")


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, mostly in the header, to random or extreme values; then perhaps cut or lengthened."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        place = int(rng.integers(0, 64 if rng.random() < 0.7 else len(data)))
        extreme = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\x80")[rng.integers(4)]
        data[place : place + 4] = extreme if rng.random() < 0.4 else rng.bytes(int(rng.integers(1, 5)))
    if rng.random() < 0.3:
        del data[int(rng.integers(0, len(data))) :]
    return bytes(data) + (rng.bytes(20) if rng.random() < 0.2 else b"")


@pytest.mark.parametrize(("file_format", "subtype"), [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_16")])
def test_mutated_files_are_read_or_refused(tmp_path: Path, file_format: str, subtype: str) -> None:
    whole, path = tmp_path / "whole", tmp_path / "x.wav"
    soundfile.write(
        whole, np.stack([sine(440, RATE, 0.2), sine(660, RATE, 0.2)], 1), RATE, format=file_format, subtype=subtype
    )
    errors, n_read = [], 0
    for seed in range(100):
        path.write_bytes(mutated(whole.read_bytes(), np.random.default_rng(seed)))
        try:
            audio = read_audio(path, 8_000)
        except InputError as error:
            errors.append(str(error))
        else:
            n_read += 1
            assert audio.sample_rate_hz == 8_000
            assert len(audio.samples)
            assert np.isfinite(audio.samples).all()
    assert n_read
    assert errors
    assert all(error.startswith(f"{path}: ") and "\n" not in error for error in errors)


class TestWriteAudio:
    def test_pcm16_rounds_and_clips(self, tmp_path: Path) -> None:
        x = np.array([0.0, 1.0, -1.0, 2.0, -2.0, 1.4 / 32768, 1.6 / 32768, -1.6 / 32768], np.float32)
        write_audio(tmp_path / "a.wav", x, RATE)
        assert soundfile.read(tmp_path / "a.wav", dtype="int16")[0].tolist() == [
            0,
            32767,
            -32768,
            32767,
            -32768,
            1,
            2,
            -2,
        ]

    def test_two_channels(self, tmp_path: Path) -> None:
        stereo = some_pcm16(2_000).reshape(-1, 2) / np.float32(32768)
        Audio(stereo, RATE).save(tmp_path / "a.flac")
        assert np.array_equal(soundfile.read(tmp_path / "a.flac", dtype="float32")[0], stereo)

    def test_a_written_file_is_whole_or_not_there(self, tmp_path: Path) -> None:
        path = tmp_path / "made" / "a.wav"
        write_audio(path, sine(440, RATE), RATE)
        before = path.read_bytes()
        with full_disk(1_000), pytest.raises(OSError, match="File too large") as caught:
            write_audio(path, sine(880, RATE), RATE)
        assert caught.value.errno == errno.EFBIG
        assert path.read_bytes() == before
        assert [file.name for file in path.parent.iterdir()] == ["a.wav"]

    @pytest.mark.parametrize(
        ("name", "rate_hz"),
        [("a.mp4", RATE), ("a", RATE), ("a.wav", 0), ("a.flac", 10**6), ("a.opus", 44_100), ("a.mp3", 37_000)],
    )
    def test_what_cannot_be_written(self, tmp_path: Path, name: str, rate_hz: int) -> None:
        with pytest.raises(InputError, match=str(tmp_path / name)):
            write_audio(tmp_path / name, sine(440, RATE), rate_hz)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ENDINGS)
class TestEncode:
    @pytest.mark.parametrize("bits", [16, 24])
    def test_blocks_are_rounded_to_bits(self, tmp_path: Path, ending: str, bits: int) -> None:
        x = np.random.default_rng(6).uniform(-1.3, 1.3, 50_000).astype(np.float32)
        encode(tmp_path / f"a{ending}", np.array_split(x, 7), RATE, bits)
        steps, rate_hz = soundfile.read(tmp_path / f"a{ending}", dtype="int32")
        assert rate_hz == RATE
        half = 1 << (bits - 1)
        expected = np.clip(np.rint(x.astype(np.float64) * half), -half, half - 1)
        assert (steps / 2 ** (32 - bits) == expected).all()

    def test_dither_is_triangular_of_one_step_and_seeded(self, tmp_path: Path, ending: str) -> None:
        """Its error is free of the signal: mean 0 and variance 1/4 step^2 (1/6 of the dither, 1/12 of rounding)."""
        level = 0.3  # of a step: without dither it is lost
        files = [tmp_path / f"{name}{ending}" for name in ("a", "b", "c")]
        for file, seed, n_blocks in zip(files, (1, 1, 2), (1, 9, 1), strict=True):
            x = np.full(200_000, level / 32_768)
            encode(file, np.array_split(x, n_blocks), RATE, 16, np.random.default_rng(seed))
        first, second, third = (soundfile.read(file, dtype="int16")[0] for file in files)
        assert np.array_equal(first, second)
        assert not np.array_equal(first, third)
        assert first.mean() == pytest.approx(level, abs=0.006)
        assert first.var() == pytest.approx(0.25, abs=0.005)
        assert set(np.unique(first)) == {-1, 0, 1}

    @pytest.mark.parametrize("n_bytes", [0, 30, 10_000, 100_000])
    def test_a_full_disk_is_its_own_error(self, tmp_path: Path, ending: str, n_bytes: int) -> None:
        noise = some_pcm16(RATE) / np.float32(32768)  # 32,000 bytes a block in either format
        with full_disk(n_bytes), pytest.raises(OSError, match="File too large") as caught:
            encode(tmp_path / f"a{ending}", [noise] * 10, RATE)
        assert caught.value.errno == errno.EFBIG


def test_float_files_keep_every_sample(tmp_path: Path) -> None:
    x = np.random.default_rng(7).uniform(-1.3, 1.3, 5_000).astype(np.float32)
    encode(tmp_path / "a.wav", [x], RATE, "float", np.random.default_rng(0))
    assert np.array_equal(soundfile.read(tmp_path / "a.wav", dtype="float32")[0], x)
    for name in ("a.flac", "a.ogg"):
        with pytest.raises(InputError, match=rf"{name}: .* no choice of float bits"):
            encode(tmp_path / name, [x], RATE, "float")


@pytest.mark.parametrize("ending", [".ogg", ".opus", ".mp3"])
def test_lossy_files_hold_both_channels(tmp_path: Path, ending: str) -> None:
    file, rate_hz = tmp_path / f"a{ending}", 48_000
    x = np.stack([1.8 * sine(440, rate_hz, 2), sine(660, rate_hz, 2)], axis=1)
    encode(file, np.array_split(x, 20), rate_hz, channels=2)
    heard = np.concatenate(list(read_blocks(file)))
    assert np.array_equal(heard, soundfile.read(file, dtype="float32")[0])
    for sent, received in zip(x.T, heard.T, strict=True):
        assert np.corrcoef(sent, received[: len(sent)])[0, 1] > 0.999


@pytest.mark.parametrize("ending", [".wav", ".flac", ".ogg", ".opus", ".mp3"])
def test_files_made_here_are_known(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"a{ending}"
    write_audio(file, sine(440, RATE), RATE, marked=True)
    assert made_here(file)
    write_audio(file, sine(440, RATE), RATE)
    assert not made_here(file)
    soundfile.write(file, sine(440, RATE), RATE, format={".opus": "OGG"}.get(ending, ending[1:].upper()))
    assert not made_here(file)
    file.write_bytes(b"MThd")
    assert not made_here(file)
