"""How well the notes of recordings and their sound agree, as it was found when a corpus was made of them."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthnet.audio.files import write_audio
from synthnet.corpus.corpus import HEARD, compass
from synthnet.files import Checked, InputError, atomic_write, parse_json
from synthnet.recordings.sound import softest
from synthnet.score.general_midi import pitch_name
from synthnet.score.notes import Note
from synthnet.text import clock

REPORT, NOTES = "alignment.json", "alignment"  # in the folder of a corpus: reports; a folder of NAME.csv
COLUMNS = ("pitch", "velocity", "start_s", "end_s", "found", "confidence")
NOISE_DB = 45.0  # how far the floor should lie below the music
RING_S, FEWEST_RESTS = 1.0, 10  # after a note, until a rest counts; windows of 100 ms
MOST_LOST = 0.25  # of a recording's notes
LEAST_CONFIDENCE = 0.5  # median of a recording's notes: two good violin pieces have 0.63 to 0.67, a doubtful one 0.44
HEARD_SHARE = (5, 50, 95)  # percentiles of velocities
CLICK_S, CLICK_HZ = 0.02, 2000.0


@dataclass(frozen=True)
class TakeReport(Checked):
    """What was found in a recording.

    Attributes:
        labels: where its notes come from, see `Take`.
        start_s: where it begins in its file; all other times count from there.
        used: whether the corpus holds it. It is left out where too many notes were not found.
        found: how many of its notes were found in the sound.
        dropped: notes that a transcriber heard and that do not count, by reason.
        left_out: spans in seconds that are neither trained on nor measured, and why.
        velocities: 5th, 50th and 95th percentile.
        a4_hz: frequency of A4.
        level_dbfs, peak_dbfs: root mean square while notes sound, and peak.
        floor_db: how far below that level the softest 1% of the 100 ms in rests are; None without rests.
        offset_s, drift_ppm: how much later than the given labels the sound is, and by how many millionths of the time
            it gets later.
        shift_ms: 5th, 25th, 50th, 75th and 95th percentile of how far onsets moved from given labels in the recording's
            time; empty for others.
        struck: whether tones rise at once, as a piano's; None where it is not known.
        confidence: median over its notes of how alike onsets are, at most 1; None where the notes were not given.
    """

    name: str
    file: str
    labels: str
    start_s: float
    seconds: float
    used: bool
    notes: int
    found: int
    dropped: Mapping[str, int]
    left_out: tuple[tuple[float, float, str], ...]
    keys: Mapping[str, int]  # notes by MIDI key
    velocities: tuple[int, int, int]
    a4_hz: float
    level_dbfs: float
    peak_dbfs: float
    floor_db: float | None
    offset_s: float = 0.0
    drift_ppm: float = 0.0
    shift_ms: tuple[float, ...] = ()
    struck: bool | None = None
    confidence: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        counted = all(0 <= int(key) <= 127 and type(n) is int and n > 0 for key, n in self.keys.items())
        if not self.keys or not counted:
            raise InputError("keys must be MIDI keys with their notes")

    @property
    def pitches(self) -> list[int]:
        """The keys that are played, rising; of a transcriber's, those in the `compass`."""
        keys = {int(key): n for key, n in self.keys.items()}
        low, high = compass(keys, self.labels == HEARD)
        return sorted(key for key in keys if low <= key <= high)

    @property
    def left_out_s(self) -> float:
        """Seconds that are left out; spans may overlap."""
        total = last = 0.0
        for start, stop, _ in sorted(self.left_out):
            total += max(0.0, stop - max(start, last))
            last = max(last, stop)
        return total

    def text(self) -> str:
        """One line."""
        low, middle, high = self.velocities
        lost = self.notes - self.found
        facts = [f"{self.notes} notes" + (f", {lost} of them not found" if lost else "")]
        facts += [f"without {n} {reason}" for reason, n in self.dropped.items()]
        facts += [f"{self.left_out_s:.1f} s left out"] if self.left_out else []
        facts += [
            f"{pitch_name(self.pitches[0])} to {pitch_name(self.pitches[-1])}",
            f"velocities {low} to {high} (median {middle})",
            f"A4 = {self.a4_hz:.1f} Hz",
            f"level {self.level_dbfs:.0f} dBFS, peak {self.peak_dbfs:.0f} dBFS",
        ]
        facts += [] if self.floor_db is None else [f"floor {self.floor_db:.0f} dB below the music"]
        if self.shift_ms:
            facts.append(f"sound {1000 * self.offset_s:+.0f} ms after the labels, drift {self.drift_ppm:+.0f} ppm")
        if self.confidence is not None and self.confidence < LEAST_CONFIDENCE:
            facts.append(f"confidence {self.confidence:.2f}: the notes and the recording may not agree (--click)")
        return f"{self.file}: {clock(self.seconds)}, {', '.join(facts)}" + ("" if self.used else "; not used")


def levels(
    samples: np.ndarray, notes: Sequence[Note], sample_rate_hz: int, first_s: float = 0.0
) -> tuple[float, float, float | None]:
    """Level while notes sound and peak of samples [n] from `first_s` on, in dBFS; how far below it the floor is.

    The floor is measured where no note sounds, nor has sounded within a second; None where that is too short.
    """
    sounds, rests = np.zeros(len(samples), bool), np.ones(len(samples), bool)
    for note in notes:
        times_s = (note.start_s, note.end_s, note.end_s + RING_S)
        start, stop, gone = (max(0, round((at_s - first_s) * sample_rate_hz)) for at_s in times_s)
        sounds[start:stop], rests[start:gone] = True, False
    level = np.sqrt(np.mean(samples[sounds] ** 2, dtype=np.float64)) if sounds.any() else 0.0
    level_dbfs, peak_dbfs = (20 * math.log10(max(one, 1e-6)) for one in (level, np.abs(samples).max()))
    floor = softest(samples[rests], sample_rate_hz, FEWEST_RESTS)
    return level_dbfs, peak_dbfs, None if floor is None else level_dbfs - 20 * math.log10(floor)


def write_notes(path: Path, notes: Sequence[Note], found: np.ndarray, confidence: np.ndarray) -> None:
    """Write the notes of a recording as CSV, times in its own time."""
    with atomic_write(path) as beside, open(beside, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for note, there, sure in zip(notes, found, confidence, strict=True):
            times = (f"{note.start_s:.4f}", f"{note.end_s:.4f}")
            writer.writerow((note.pitch, note.velocity, *times, int(there), f"{sure:.3f}"))


def write_clicks(path: Path, samples: np.ndarray, sample_rate_hz: int, onsets_s: Sequence[float]) -> None:
    """Write a sound file in stereo: samples [n] left, a click at each onset right."""
    t = np.arange(round(CLICK_S * sample_rate_hz)) / sample_rate_hz
    click = 0.5 * np.sin(2 * np.pi * CLICK_HZ * t) * np.exp(-t / (CLICK_S / 5))
    both = np.stack([samples, np.zeros_like(samples)], axis=1)
    for onset_s in onsets_s:
        place = both[round(onset_s * sample_rate_hz) :, 1][: len(click)]
        place += click[: len(place)]
    write_audio(path, both, sample_rate_hz)


def write_reports(folder: Path, reports: Sequence[TakeReport]) -> None:
    """Write the reports into the folder of a corpus."""
    with atomic_write(folder / REPORT) as beside:
        beside.write_text(json.dumps([one.as_dict() for one in reports], indent=1) + "\n", "utf-8")


def read_reports(folder: Path) -> tuple[TakeReport, ...]:
    """The reports in the folder of a corpus; InputError if there are none, or if they are damaged."""
    path = folder / REPORT
    try:
        reports = tuple(map(TakeReport.from_dict, parse_json(path.read_bytes())))
        if not reports or not format_reports(reports):  # what cannot be shown is damaged
            raise ValueError("no recordings")
    except FileNotFoundError:
        raise InputError(f"{folder}: no {REPORT}; synthnet learn and corpus import write one") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except (ValueError, TypeError, AttributeError, ArithmeticError, IndexError) as error:
        raise InputError(f"{path}: damaged ({' '.join(str(error).split()):.80})") from None
    return reports


def summary(reports: Sequence[TakeReport]) -> dict[str, Any]:
    """Figures of all recordings, and each one's, as plain values."""
    used = [one for one in reports if one.used]
    keys = sorted({key for one in used for key in one.pitches})
    return {
        "seconds": sum(one.seconds for one in used),
        "left_out_s": sum(one.left_out_s for one in used),
        "notes": sum(one.notes for one in used),
        "found": sum(one.found for one in used),
        "keys_never_heard": [key for key in range(keys[0], keys[-1]) if key not in keys] if keys else [],
        "recordings": [one.as_dict() for one in reports],
    }


def format_reports(reports: Sequence[TakeReport]) -> str:
    """The same as text for a terminal."""
    lines = []
    for one in reports:
        lines.append(one.text())
        if one.shift_ms:
            low, first, middle, third, high = one.shift_ms
            lines.append(
                f"  onsets moved by {middle:+.0f} ms (half {first:+.0f} to {third:+.0f}, 90% {low:+.0f} to {high:+.0f})"
            )
        for start, stop, why in one.left_out:
            at_s = one.start_s + start
            lines.append(f"  left out: {stop - start:6.2f} s at {clock(at_s)} ({at_s:.2f} s): {why}")
    return "\n".join([*lines, "", *totals(reports)])


def totals(reports: Sequence[TakeReport]) -> list[str]:
    """Lines about all recordings that are used."""
    facts = summary(reports)
    lost = facts["notes"] - facts["found"]
    share = f"{lost} of {facts['notes']} notes not found" if lost else f"all of {facts['notes']} notes found"
    lines = [f"{clock(facts['seconds'])} in all, {facts['left_out_s']:.1f} s left out, {share}"]
    if silent := facts["keys_never_heard"]:
        lines.append(f"keys never heard: {', '.join(map(pitch_name, silent))}")
    return lines
