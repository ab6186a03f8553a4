"""A corpus from recordings of an instrument without a score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from synthnet.corpus.build import PEAK
from synthnet.corpus.corpus import VERSION, Corpus, Piece, write_manifest, write_piece
from synthnet.files import InputError, sha256
from synthnet.models.config import HARMONIC_RATE_HZ
from synthnet.models.envelopes import notes_of
from synthnet.models.measuring import find_peaks, measure_frequencies
from synthnet.recordings.notes import Checked, check_notes
from synthnet.recordings.sound import Recording, floor_db, read_recording
from synthnet.recordings.transcribe import transcribe
from synthnet.score.general_midi import pitch_name
from synthnet.score.notes import Note
from synthnet.score.roll import roll_events
from synthnet.text import clock

LEAD_S, TAIL_S = 0.5, 2.0  # kept before the first and after the last note
LEAST_S, LEAST_NOTES = 30.0, 30
VALID_FROM, VALID_LATEST, VALID_BEST = 0.7, 0.9, 0.8  # share of a recording after which the validation piece begins
HELD_OUT = "-valid"  # ends the name of that piece
LOUDER_DB = 6.0  # between recordings: one of them was made at another level
NOISE_DB = 45.0  # how far the floor should lie below the music


@dataclass(frozen=True)
class TakeReport:
    """What was found in a recording.

    Attributes:
        left_out: notes by reason.
        velocities: 5th, 50th and 95th percentile.
        a4_hz: frequency of A4, from the median of all keys' tuning.
        level_dbfs, floor_db: root mean square, and how far below it the softest 100 ms are.
    """

    file: str
    seconds: float
    notes: int
    left_out: Mapping[str, int]
    lowest_pitch: int
    highest_pitch: int
    velocities: tuple[int, int, int]
    a4_hz: float
    level_dbfs: float
    floor_db: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def text(self) -> str:
        """One line."""
        low, middle, high = self.velocities
        out = ", ".join(f"{n} {reason}" for reason, n in self.left_out.items())
        return (
            f"{self.file}: {clock(self.seconds)}, {self.notes} notes (left out: {out or 'none'}), "
            f"{pitch_name(self.lowest_pitch)} to {pitch_name(self.highest_pitch)}, "
            f"velocities {low} to {high} (median {middle}), A4 = {self.a4_hz:.1f} Hz, "
            f"level {self.level_dbfs:.0f} dBFS, floor {self.floor_db:.0f} dB below it"
        )


def corpus_from_recordings(
    folder: Path,
    instrument: str,
    program: int,
    paths: Sequence[Path],
    channel: str = "mean",
    report: Callable[[str], None] = lambda line: None,
) -> tuple[Corpus, tuple[TakeReport, ...]]:
    """Transcribe recordings of one instrument into a corpus of 44.1 kHz.

    The last fifth of the longest recording, from its longest rest there, validates; all else trains. The corpus is a
    function of the recordings alone. `report` gets a line for each step and for what should be known of a recording.

    Raises:
        InputError: see `read_recording` and `transcribe`; two recordings of one name; too little music; before anything
            is written. Also when the folder cannot be written.
    """
    names = [path.stem.lower() for path in paths]
    for path, name in zip(paths, names, strict=True):
        if names.count(name) > 1 or name.removesuffix(HELD_OUT) in set(names) - {name}:
            raise InputError(f"{path}: another recording, or its held-out part, would have its name; rename it")
    takes = [read_recording(path, HARMONIC_RATE_HZ, channel) for path in paths]
    for remark in (remark for take in takes for remark in take.remarks):
        report(remark)
    found, reports = [], []
    for take in takes:
        report(f"{take.path}: transcribing {clock(len(take.samples) / take.sample_rate_hz)}")
        checked = check_notes(transcribe(take.samples, take.sample_rate_hz), take.samples, take.sample_rate_hz)
        found.append(checked.notes)
        if checked.notes:
            reports.append(_describe(take, checked))
            report(reports[-1].text())
        else:
            report(f"{take.path}: no notes were found; it is left out")
    n_notes, seconds = sum(map(len, found)), sum(_span_s(notes) for notes in found)
    if n_notes < LEAST_NOTES or seconds < LEAST_S:
        raise InputError(
            f"{', '.join(map(str, paths))}: {n_notes} notes in {seconds:.0f} s are too little to learn from; "
            f"at least {LEAST_NOTES} in {LEAST_S:.0f} s, better 5 to 15 minutes"
        )
    _report_levels(reports, report)
    used = [(take, notes) for take, notes in zip(takes, found, strict=True) if notes]
    return _write(Path(folder), instrument, program, used), tuple(reports)


def _span_s(notes: Sequence[Note]) -> float:
    return max(note.end_s for note in notes) - notes[0].start_s if notes else 0.0


def _describe(take: Recording, checked: Checked) -> TakeReport:
    rate, pitches = take.sample_rate_hz, [note.pitch for note in checked.notes]
    velocities = np.percentile([note.velocity for note in checked.notes], [5, 50, 95])
    level = np.sqrt(np.mean(take.samples**2, dtype=np.float64))
    return TakeReport(
        file=take.path.name,
        seconds=len(take.samples) / rate,
        notes=len(pitches),
        left_out=dict(checked.left_out),
        lowest_pitch=min(pitches),
        highest_pitch=max(pitches),
        velocities=(round(velocities[0]), round(velocities[1]), round(velocities[2])),
        a4_hz=_a4_hz(take, checked.notes),
        level_dbfs=float(20 * np.log10(level)),
        floor_db=floor_db(take.samples, rate),
    )


def _a4_hz(take: Recording, notes: Sequence[Note]) -> float:
    """The frequency of A4, in Hz, by the median of how far the keys that sound are from equal temperament."""
    peaks = find_peaks(take.samples, notes_of(roll_events(notes, take.sample_rate_hz)), take.sample_rate_hz)
    if not peaks:
        return 440.0
    cents = measure_frequencies(peaks, partials=8)[0]
    return float(440.0 * 2 ** (np.median(cents[[note.pitch for note in notes]]) / 1200))


def _report_levels(reports: Sequence[TakeReport], report: Callable[[str], None]) -> None:
    loud, soft = (pick(reports, key=lambda one: one.level_dbfs) for pick in (max, min))
    if loud.level_dbfs - soft.level_dbfs > LOUDER_DB:
        report(f"{loud.file} is {loud.level_dbfs - soft.level_dbfs:.0f} dB louder than {soft.file}: another gain?")
    for one in reports:
        if one.floor_db < NOISE_DB:
            report(f"{one.file}: noise {one.floor_db:.0f} dB below the music; the instrument may learn it")


def _write(folder: Path, instrument: str, program: int, takes: Sequence[tuple[Recording, Sequence[Note]]]) -> Corpus:
    """Cut the takes into pieces and write them, at one gain."""
    longest = max(range(len(takes)), key=lambda i: _span_s(takes[i][1]))
    cuts = []  # name, split, source, samples, notes
    for i, (take, notes) in enumerate(takes):
        first_s = max(0.0, notes[0].start_s - LEAD_S)
        last_s = min(len(take.samples) / take.sample_rate_hz, max(note.end_s for note in notes) + TAIL_S)
        parts = [(take.path.stem, "train", first_s, last_s)]
        if i == longest:
            middle_s = rest_s(notes)
            parts = [
                (take.path.stem, "train", first_s, middle_s),
                (f"{take.path.stem}{HELD_OUT}", "valid", middle_s, last_s),
            ]
        cuts += [(name, split, take, *_part(take, notes, start, stop)) for name, split, start, stop in parts]
    gain = PEAK / max(float(np.abs(samples).max()) for _, _, _, samples, _ in cuts)
    corpus = Corpus(folder, VERSION, instrument, program, HARMONIC_RATE_HZ, "", "", "", gain, ())
    checksums = {take.path: sha256(take.path) for take, _ in takes}
    pieces = []
    try:
        for name, split, take, samples, notes in sorted(cuts, key=lambda cut: cut[0]):
            peak, path = float(np.abs(samples).max()), take.path
            piece = Piece(name, split, len(samples), peak, path.name, checksums[path], "", "")
            pieces.append(write_piece(corpus, piece, samples * np.float32(gain), notes))
        corpus = replace(corpus, pieces=tuple(pieces))
        write_manifest(corpus)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
    return corpus


def _part(take: Recording, notes: Sequence[Note], start_s: float, stop_s: float) -> tuple[np.ndarray, list[Note]]:
    """The samples from one time to another, and the notes that begin in them, with times from their start."""
    rate = take.sample_rate_hz
    first, stop = round(start_s * rate), round(stop_s * rate)
    samples, kept = take.samples[first:stop], []
    for note in notes:
        if first <= round(note.start_s * rate) < stop:
            begin_s = max(0.0, note.start_s - first / rate)
            end_s = min(note.end_s - first / rate, len(samples) / rate)
            if begin_s < end_s:
                kept.append(replace(note, start_s=begin_s, end_s=end_s))
    return samples, kept


def rest_s(notes: Sequence[Note]) -> float:
    """Where to cut music, sorted by onset, so that about a fifth remains: in the longest rest from 70% to 90% of it.

    The cut is 10 ms before the note after the rest. Where no note begins between, it is at the one nearest to 80%.
    """
    starts = np.array([note.start_s for note in notes])
    rests = starts[1:] - np.maximum.accumulate([note.end_s for note in notes])[:-1]
    share = (starts[1:] - starts[0]) / max(_span_s(notes), 1e-9)
    within = (share >= VALID_FROM) & (share <= VALID_LATEST)
    best = np.where(within, rests, -np.inf).argmax() if within.any() else np.abs(share - VALID_BEST).argmin()
    return float(starts[1:][best] - min(0.01, max(0.0, starts[1:][best] - starts[best]) / 2))
