"""A harmonic instrument as an SFZ folder for samplers: NAME.sfz, and samples of every third key at four velocities.

Between two sampled velocities both samples sound, crossfaded: all partials of a key start in phase, so that amplitudes
are interpolated and nothing cancels. An instrument that sustains is looped; one that dies away is played to its end.
The release is exponential, fitted for each sampled key. What a sampler cannot do is lost: legato, and an onset that
depends on the note before.

Format: SFZ 1 (https://sfzformat.com), opcodes that samplers have in common.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from synthnet.audio.files import encode, made_here
from synthnet.files import InputError
from synthnet.generation.harmonic import VIBRATO_HZ, VIBRATO_SEMITONES, HarmonicPlayer, Part
from synthnet.generation.library import Seat
from synthnet.models import HarmonicConfig
from synthnet.models.envelopes import N_KEYS, make_notes

RATE_HZ = 44_100
MARK = "// made by SynthNet"
KEY_STEP = 3
# Sampled velocities, a half to two thirds of the next: the law of levels bends little between.
LAYERS = (24, 48, 80, 127)
STEADY_S, LOOP_END_S, SEARCH_S, FADE_S = 2.0, 4.0, 0.3, 0.1  # a loop begins within SEARCH_S after STEADY_S
LONGEST_S = 10.0  # of a sample that dies away
SUSTAINS_DB = 2.0  # lost from the 4th to the 6th second at most
SILENT_DB = -75.0  # of the peak: a sample ends there
RELEASE_DB = -60.0  # of the level at the release: its fit ends there
HELD_S, STRUCK_S = 1.0, 0.15  # before the release that is fitted, of what sustains and of what dies away
PEAK = 0.95  # of every sample; the opcode `volume` has its level
GUARD = 64  # samples after a loop's end, for a sampler's interpolation
NEPERS = 9.0  # by which sfizz's envelope falls within `ampeg_release`


class SampledInstrument:
    """Notes of a harmonic instrument, alone, at the level of its teacher.

    Attributes:
        keys: those that are sampled.
        sustains: whether a held note goes on; else it dies away.
        length_s: of each note that is played for a sample.
    """

    def __init__(self, seat: Seat) -> None:
        checkpoint = seat.checkpoint
        self.player = HarmonicPlayer(cast(HarmonicConfig, checkpoint.config), checkpoint.weights, RATE_HZ)
        self.level = np.float32(seat.level)
        self.name = Path(seat.voice.name).name  # of a file
        learned = np.unique(self.player.weights["nearest"]).tolist()
        self.keys = list(range(learned[0] + 1, learned[-1] + 1, KEY_STEP)) or learned
        self.sustains = self._sustains(self.keys[len(self.keys) // 2])
        self.length_s = LOOP_END_S if self.sustains else LONGEST_S

    @property
    def n_samples(self) -> int:
        """Samples of all notes that are played."""
        return len(self.keys) * len(LAYERS) * round(self.length_s * RATE_HZ)

    def play(self, key: int, velocity: int, held_s: float, length_s: float) -> NDArray[np.float32]:
        """A note held for some time, float32 [n]."""
        pitch, loud, onset, release = (np.array([value]) for value in (key, velocity, 0, round(held_s * RATE_HZ)))
        note = make_notes(pitch, loud, onset, release, RATE_HZ)
        return self.player.play(Part(note), 0, round(length_s * RATE_HZ)) * self.level

    def _sustains(self, key: int) -> bool:
        levels = _levels_db(self.play(key, LAYERS[-1], 6.5, 6.5), 0.5)
        return bool(levels[8] - levels[12] < SUSTAINS_DB)

    def softer(self, key: int, velocity: int) -> float:
        """Amplitude at a velocity below the first layer's, relative to that layer."""
        rms = [np.sqrt(np.mean(self.play(key, v, 0.5, 0.5) ** 2)) for v in (velocity, LAYERS[0])]
        return float(min(rms[0] / max(rms[1], 1e-9), 1.0))

    def release_s(self, key: int) -> float:
        """The `ampeg_release` with which a held note falls most nearly, in dB, as a released one."""
        held_s = HELD_S if self.sustains else STRUCK_S
        length_s = held_s + max(float(self.player.weights["release_s"][key]), 0.05)
        held, released = (_levels_db(self.play(key, 100, until, length_s)) for until in (length_s, held_s))
        first = round(held_s * 100)
        floor = held[first - 1] + RELEASE_DB
        held, released = held[first:].clip(floor), released[first:].clip(floor)
        falls_s = np.geomspace(0.003, 3.0, 300)  # to 1 / e
        fallen = 20 * np.log10(np.e) * 0.01 * (np.arange(len(held)) + 0.5) / falls_s[:, None]
        errors = np.mean(((held - fallen).clip(floor) - released) ** 2, axis=1)
        return NEPERS * float(falls_s[np.argmin(errors)])


def _levels_db(x: NDArray, step_s: float = 0.01) -> NDArray:
    """RMS of each step in dB."""
    step = round(step_s * RATE_HZ)
    rms = np.sqrt(np.mean(x[: len(x) // step * step].reshape(-1, step) ** 2, axis=1))
    return 20 * np.log10(np.maximum(rms, 1e-9))


def find_loop(x: NDArray) -> tuple[int, int]:
    """First sample and end of a loop, before which the waveform is most alike, by normalised correlation."""
    first, end, fade = (round(s * RATE_HZ) for s in (STEADY_S, LOOP_END_S, FADE_S))
    area = x[first - fade : first + round(SEARCH_S * RATE_HZ)].astype(np.float64)
    power = np.concatenate([[0.0], np.cumsum(area**2)])
    alike = np.correlate(area, x[end - fade : end], "valid") / np.sqrt((power[fade:] - power[:-fade]).clip(1e-12))
    return first + int(np.argmax(alike)), end


def looped(x: NDArray[np.float32], start: int, end: int) -> NDArray[np.float32]:
    """The samples up to a loop's end, crossfaded there into what precedes its start, so that it joins.

    First the loop's level is made even. Then the fade keeps the power, whatever the two sides' correlation.
    """
    fade, x = round(FADE_S * RATE_HZ), x[:end].copy()
    before = x[start - fade : start].copy()
    level = np.linalg.norm(before) / max(float(np.linalg.norm(x[end - fade :])), 1e-9)
    x[start:] *= level ** np.linspace(0, 1, end - start, dtype=np.float32)
    last, w = x[end - fade :], np.linspace(0, 1, fade, dtype=np.float32)
    alike = before @ last / max(float(np.linalg.norm(before) * np.linalg.norm(last)), 1e-9)
    x[end - fade :] = ((1 - w) * last + w * before) / np.sqrt(w**2 + (1 - w) ** 2 + 2 * alike * w * (1 - w))
    return np.concatenate([x, x[start : start + GUARD]])


def ended(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """A sound up to where it has died away, faded to nothing there."""
    levels = _levels_db(x)
    heard = np.flatnonzero(levels > levels.max() + SILENT_DB)[-1] + 1
    fade = min(heard, 50)
    gain = np.concatenate([np.ones((heard - fade) * RATE_HZ // 100), np.linspace(1, 0, fade * RATE_HZ // 100)])
    return x[: len(gain)] * gain.astype(np.float32)


def export_sfz(
    sampled: SampledInstrument, folder: Path, credit: str, force: bool = False, progress: Callable[[int], object] = id
) -> None:
    """Write an SFZ folder, whole or not at all; it takes the place of one that was made here.

    A kill leaves no new folder but a whole one, and in an old one no .sfz but a whole instrument's.

    Args:
        credit: a line on licence and origin, for a comment.
        force: whether the folder may hold files that were not made here. They stay, unless a new one has their name.
        progress: called with samples newly made.

    Raises:
        InputError: the folder is a file, or holds files that were not made here.
    """
    vibrato = f"pitchlfo_freq={VIBRATO_HZ:g} pitchlfo_depthcc1={100 * VIBRATO_SEMITONES:g}"
    text = [
        f"{MARK}: {sampled.name}",
        f"// {credit}",
        "\n<control> hint_ram_based=1",  # sfizz would drop what its disk does not deliver in time
        f"<global> amp_veltrack=0 xf_velcurve=gain {vibrato}",
    ]
    with _atomic_folder(folder, force) as beside:
        (beside / "samples").mkdir(parents=True)
        for key in sampled.keys:
            lowest = 0 if key == sampled.keys[0] else key - 1
            highest = N_KEYS - 1 if key == sampled.keys[-1] else key + 1
            release = f"ampeg_release={sampled.release_s(key):.3f}"
            text += ["", f"<group> lokey={lowest} hikey={highest} pitch_keycenter={key} {release}"]
            loop: tuple[int, int] | None = None
            for layer in reversed(range(len(LAYERS))):  # the loudest finds the loop
                x = sampled.play(key, LAYERS[layer], sampled.length_s, sampled.length_s)
                progress(len(x))
                if sampled.sustains:
                    loop = loop or find_loop(x)
                    x = looped(x, *loop)
                else:
                    x = ended(x)
                peak = max(float(np.abs(x).max()), 1e-6)
                sample = f"samples/{key:03d}-{LAYERS[layer]:03d}.wav"
                dither = np.random.default_rng((key, layer))
                encode(beside / sample, [x * np.float32(PEAK / peak)], RATE_HZ, 16, dither)
                opcodes = [f"sample={sample}", f"volume={20 * np.log10(peak / PEAK):.2f}", _velocities(layer)]
                if layer == 0:
                    curve = [f"amp_velcurve_{v}={sampled.softer(key, v):.4f}" for v in (1, LAYERS[0] // 2)]
                    opcodes += ["amp_veltrack=100", *curve, f"amp_velcurve_{LAYERS[0]}=1 amp_velcurve_127=1"]
                opcodes.append(
                    f"loop_mode=loop_continuous loop_start={loop[0]} loop_end={loop[1] - 1}"
                    if loop
                    else "loop_mode=no_loop"
                )
                text.append(f"<region> {' '.join(opcodes)}")
        (beside / f"{sampled.name}.sfz").write_text("\n".join(text) + "\n", encoding="utf-8")


def _velocities(layer: int) -> str:
    """Opcodes of the velocities at which a layer sounds."""
    below, loudest, above = (0, *LAYERS, 128)[layer : layer + 3]
    opcodes = f"lovel={below + 1} hivel={above - 1}"
    opcodes += f" xfin_lovel={below} xfin_hivel={loudest}" if below else ""
    return opcodes + (f" xfout_lovel={loudest} xfout_hivel={above}" if above < 128 else "")


@contextlib.contextmanager
def _atomic_folder(folder: Path, force: bool) -> Iterator[Path]:
    """Yield a temporary folder; on success, its files take the place of those in `folder` that were made here."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: a file; an SFZ instrument is a folder")
    files = [path for path in folder.rglob("*") if path.is_file()]
    foreign = [path for path in files if not _made_here(folder, path)]
    if foreign and not force:
        what = f"{foreign[0]}: not of an SFZ instrument made by SynthNet"
        raise InputError(f"{what}; choose another folder, or --force to write beside it")
    place = folder.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as beside:
            made = Path(beside) / "made"
            yield made
            if not place.exists():
                made.rename(place)
                return
            # The .sfz goes first and comes last: wherever a kill ends this, there is none that lacks a sample.
            for path in sorted(set(files) - set(foreign), key=lambda path: path.suffix != ".sfz"):
                path.unlink()
            # Renaming needs no room on the disk.
            shutil.copytree(made / "samples", place / "samples", copy_function=os.replace, dirs_exist_ok=True)
            for path in made.glob("*.sfz"):
                os.replace(path, place / path.name)
    except OSError as error:
        error.filename = str(folder)
        raise


def _made_here(folder: Path, path: Path) -> bool:
    """Whether a file is an exported instrument's: songs that SynthNet rendered must not be lost with the folder."""
    if path.suffix == ".sfz":
        return path.read_bytes().startswith(MARK.encode())
    sample = re.fullmatch(r"samples/\d{3}-\d{3}\.wav", path.relative_to(folder).as_posix())
    return bool(sample) and made_here(path)
