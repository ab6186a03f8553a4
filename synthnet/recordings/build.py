"""A corpus from recordings of an instrument: with notes beside them, or transcribed."""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soxr

from synthnet.corpus.build import PEAK, alone, last_fifth
from synthnet.corpus.corpus import HEARD, VERSION, Corpus, Piece, read_corpus, write_manifest, write_piece
from synthnet.files import InputError, sha256
from synthnet.models.config import HARMONIC_RATE_HZ
from synthnet.recordings.alignment import RATE_HZ, Aligned, align, tuning_cents
from synthnet.recordings.notes import check_notes, note_levels_db, with_velocities
from synthnet.recordings.pairs import EXACT, PERFORMED, SCORE, Take
from synthnet.recordings.report import (
    HEARD_SHARE,
    MOST_LOST,
    NOISE_DB,
    NOTES,
    TakeReport,
    levels,
    write_clicks,
    write_notes,
    write_reports,
)
from synthnet.recordings.sound import Recording, read_recording, runs
from synthnet.recordings.transcribe import transcribe
from synthnet.score.notes import Note
from synthnet.text import clock

LEAD_S, TAIL_S = 0.5, 2.0  # kept before the first and after the last note
LEAST_S, LEAST_NOTES = 30.0, 30
HELD_OUT = "-valid"  # ends the name of the last fifth of a recording
LOUDER_DB = 6.0  # between recordings: one of them was made at another level
BEYOND_S, IN_SAMPLES, LONGER = 1.0, 1000, 4  # how far labels, and how many times scores, may exceed the sound
SHIFTS = (5, 25, 50, 75, 95)  # percentiles


@dataclass(frozen=True)
class Options:
    """How recordings are read.

    Attributes:
        channel: of stereo files, "mean", "left" or "right".
        valid: words; recordings with one of them in their name validate.
        level_each: give each recording the same level, instead of one gain to all.
        keep_clipped: take recordings however much of them is clipped.
        click: a folder, or the file for a single recording: the sound left, a click at each onset that was found right.
    """

    sample_rate_hz: int = HARMONIC_RATE_HZ
    channel: str = "mean"
    valid: Sequence[str] = ()
    level_each: bool = False
    keep_clipped: bool = False
    click: Path | None = None

    def read(self, take: Take) -> Recording:
        """The recording of a take."""
        return read_recording(take.path, self.sample_rate_hz, self.channel, take.span_s, keep_clipped=self.keep_clipped)

    def gain(self, report: TakeReport) -> float:
        """What the samples of a take are multiplied by, before the gain of the corpus."""
        return 10 ** (-report.level_dbfs / 20) if self.level_each else 1.0


@dataclass(frozen=True)
class Found:
    """A take, its notes in the sound, what is left out of it, and what there is to say about it."""

    take: Take
    labels: Aligned
    report: TakeReport
    level_db: np.ndarray | None  # of each note, where velocities are not known

    @property
    def notes(self) -> tuple[Note, ...]:
        """Its notes, in seconds from its start."""
        return self.labels.notes


def corpus_from_recordings(
    folder: Path,
    instrument: str,
    program: int,
    takes: Sequence[Take],
    options: Options | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[Corpus, tuple[TakeReport, ...]]:
    """Make a corpus of recordings of one instrument, whose notes are given or transcribed.

    Takes that a dataset or `options` says so validate. Without such, the last fifth of the longest recording does, from
    its longest rest there. All else trains. The corpus is a function of the recordings, their notes and the options
    alone. `report` gets a line for each step and for what should be known of a recording.

    Raises:
        InputError: see `read_recording`, `transcribe` and `align`; two recordings of one name; notes that do not fit
            their recording; too little music; a folder that a sound font's corpus is in; before anything but clicks is
            written. Also when the folder cannot be written.
    """
    folder, options = Path(folder), options or Options()
    _check_names(takes, options)
    if options.valid:
        held = [any(word.lower() in take.name.lower() for word in options.valid) for take in takes]
        takes = [replace(one, split="valid" if out else "train") for one, out in zip(takes, held, strict=True)]
    before = _former(folder)
    found = _with_velocities(tuple(_find(takes, options, report)), options)
    for one in found:
        report(one.report.text())
    used = [one for one in found if one.report.used]
    seconds, n_notes = sum(_span_s(one.notes) for one in used), sum(len(one.notes) for one in used)
    given = ", ".join(str(take.path) for take in takes[:3]) + (", ..." if len(takes) > 3 else "")
    if found and not used and any(one.take.labels != HEARD for one in found):
        raise InputError(
            f"{given}: too many notes were not found in the sound; does the score have the repeats that were played?"
        )
    if n_notes < LEAST_NOTES or seconds < LEAST_S:
        raise InputError(
            f"{given}: {n_notes} notes in {seconds:.0f} s are too little to learn from; "
            f"at least {LEAST_NOTES} in {LEAST_S:.0f} s, better 5 to 15 minutes"
        )
    _report_levels([one.report for one in used], options, report)
    credits = sorted({one.take.credit for one in used} - {""})
    for credit in credits:
        report(f"credit: {credit}")
    cuts = {one.take.name: _cuts(one, used, options) for one in used}
    pieces = [piece for some in cuts.values() for piece, _ in some]
    if all(piece.split == "valid" for piece in pieces):
        raise InputError(f"{given}: no recording is left to train on, all validate")
    for piece in pieces:
        if piece.split == "valid":  # says so now, not when training has begun
            piece.measured(np.zeros(piece.n_samples, bool), options.sample_rate_hz)
    gain = PEAK / max(options.gain(one.report) * 10 ** (one.report.peak_dbfs / 20) for one in used)
    source = (instrument, program, options.sample_rate_hz, "", "", "")
    corpus = Corpus(folder, VERSION, *source, gain, (), "; ".join(credits))
    with alone(folder):
        corpus = _write(corpus, found, cuts, options)
        _remove_former(before, corpus, {take.name for take in takes})
    return corpus, tuple(one.report for one in found)


def _check_names(takes: Sequence[Take], options: Options) -> None:
    if len(takes) > 1 and options.click is not None and options.click.suffix:
        raise InputError(f"{options.click}: a folder is needed for the clicks of {len(takes)} recordings")
    names = [take.name.lower() for take in takes]
    for take, name in zip(takes, names, strict=True):
        if Path(name).name != name:
            raise InputError(f"{take.path}: {take.name!r} cannot name a file")
        if names.count(name) > 1 or name.removesuffix(HELD_OUT) in set(names) - {name}:
            raise InputError(f"{take.path}: another recording, or its held-out part, would have its name; rename it")
    for word in options.valid:
        if not any(word.lower() in name for name in names):
            raise InputError(f"{word}: no recording has this in its name")


def _former(folder: Path) -> Corpus | None:
    """The corpus of recordings in the folder, if there is one; InputError if a sound font played it."""
    try:
        before = read_corpus(folder)
    except InputError:
        return None
    if before.soundfont:
        raise InputError(f"{folder}: holds a corpus that a sound font played; choose another name")
    return before


def _remove_former(before: Corpus | None, corpus: Corpus, takes: set[str]) -> None:
    """Remove the files of pieces and takes that are no longer there, and what a killed process left half written."""
    folder, gone = corpus.folder, [*corpus.folder.glob(".*.part.*"), *corpus.folder.glob("*/.*.part.*")]
    if before:
        names = {piece.name for piece in corpus.pieces}
        old = [piece for piece in before.pieces if piece.name not in names]
        gone += [path_of(piece) for piece in old for path_of in (corpus.audio_path, corpus.score_path)]
        gone += [path for path in (folder / NOTES).glob("*.csv") if path.stem not in takes]
    for path in gone:
        path.unlink(missing_ok=True)


def _find(takes: Sequence[Take], options: Options, report: Callable[[str], None]) -> Iterator[Found]:
    """Each take with its notes in the sound; those in which nothing was heard are reported and passed over."""
    begun, done_s, rate = time.monotonic(), 0.0, options.sample_rate_hz
    for number, take in enumerate(takes):
        recording = options.read(take)
        for remark in recording.remarks:
            report(remark)
        samples = recording.samples
        seconds = len(samples) / rate
        notes = _fitting(take, seconds)
        left = ""
        if number:
            spent_s = time.monotonic() - begun
            left_s = spent_s / number * (len(takes) - number)
            left = f", {done_s / spent_s:.0f} times real time, about {clock(left_s)} left"
        doing = "transcribing" if take.labels == HEARD else f"finding {len(notes)} notes in"
        report(f"{take.path}: {doing} {clock(seconds)} ({number + 1} of {len(takes)}{left})")
        done_s += seconds
        dropped: Mapping[str, int] = {}
        if take.labels == HEARD:
            x = soxr.resample(samples, rate, RATE_HZ, "VHQ")
            cents = tuning_cents(x)
            checked = check_notes(transcribe(samples, rate), x, RATE_HZ, cents)
            notes, dropped, ones = checked.notes, checked.left_out, np.ones(len(checked.notes))
            labels = Aligned(notes, ones > 0, ones, (), cents, 0.0, 0.0, False)
        else:
            try:
                labels = align(notes, samples, rate, take.labels, take.anchors)
            except InputError as error:
                raise InputError(f"{take.path}: {error}") from None
        if not labels.notes:
            report(f"{take.path}: no notes were found; it is left out")
            continue
        if options.click is not None:  # now, so that they are there where the take or all of them are refused
            path = options.click if options.click.suffix else options.click / f"{take.name}.wav"
            found_s = [note.start_s for note, there in zip(labels.notes, labels.found, strict=True) if there]
            write_clicks(path, samples, rate, found_s)
            report(f"{path}: the recording left, clicks at the notes right")
        spans = ((max(0.0, a), min(b, seconds), why) for a, b, why in (*labels.left_out, *recording.left_out))
        labels = replace(labels, left_out=tuple(sorted(span for span in spans if span[0] < span[1])))
        known = take.labels in (PERFORMED, EXACT) and len({note.velocity for note in labels.notes}) > 1
        level_db = None if known else note_levels_db(samples, rate, labels.notes, labels.tuning_cents)
        yield Found(take, labels, _describe(take, notes, samples, rate, labels, dropped), level_db)


def _fitting(take: Take, seconds: float) -> tuple[Note, ...]:
    """The given notes of a take, those in its sound's time cut at its end; InputError if they cannot belong to it."""
    if take.labels == HEARD:
        return ()
    last_s = max(note.end_s for note in take.notes)
    what = f"{take.path}: the sound lasts {seconds:.1f} s, its notes {last_s:.1f} s"
    if take.labels == SCORE:
        if last_s > LONGER * seconds:
            raise InputError(f"{what}; is this the right score?")
        return take.notes
    if last_s > seconds + BEYOND_S:
        raise InputError(what + ("; are they in samples?" if last_s > IN_SAMPLES * seconds else ""))
    inside = (replace(note, end_s=min(note.end_s, seconds)) for note in take.notes)
    return tuple(note for note in inside if note.start_s < note.end_s)


def _with_velocities(found: Sequence[Found], options: Options) -> tuple[Found, ...]:
    """The takes with the velocities that were given; those measured are relative to the notes of all takes together.

    One player's soft piece is soft beside a loud one, unless each recording is brought to the same level.
    """
    unknown = [one for one in found if one.level_db is not None]
    notes = [note for one in unknown for note in one.notes]
    levels = [one.level_db for one in unknown if one.level_db is not None]
    of_take = np.concatenate([np.zeros(0), *(np.full(len(level), np.median(level)) for level in levels)])
    louder_db = of_take - np.median(of_take) if unknown and not options.level_each else 0.0
    measured = iter(with_velocities(notes, np.concatenate([np.zeros(0), *levels]) - of_take, louder_db))
    told = []
    for one in found:
        new = one.notes if one.level_db is None else tuple(itertools.islice(measured, len(one.notes)))
        low, middle, high = (round(v) for v in np.percentile([note.velocity for note in new], HEARD_SHARE))
        labels, report = replace(one.labels, notes=new), replace(one.report, velocities=(low, middle, high))
        told.append(replace(one, labels=labels, report=report))
    return tuple(told)


def _span_s(notes: Sequence[Note]) -> float:
    return max(note.end_s for note in notes) - notes[0].start_s if notes else 0.0


def _kept_s(notes: Sequence[Note], seconds: float) -> tuple[float, float]:
    """Where a recording is cut before its first and after its last note."""
    return max(0.0, notes[0].start_s - LEAD_S), min(seconds, max(note.end_s for note in notes) + TAIL_S)


def _describe(
    take: Take, given: Sequence[Note], samples: np.ndarray, rate: int, labels: Aligned, dropped: Mapping[str, int]
) -> TakeReport:
    notes, seconds, heard = labels.notes, len(samples) / rate, take.labels == HEARD
    first_s, last_s = _kept_s(notes, seconds)
    kept = samples[round(first_s * rate) : round(last_s * rate)]
    level_dbfs, peak_dbfs, floor_db = levels(kept, notes, rate, first_s)
    shift_ms: tuple[float, ...] = ()
    if take.labels in (PERFORMED, EXACT):  # the notes of a key keep their order
        before, after = (sorted(some, key=lambda note: (note.pitch, note.start_s)) for some in (given, notes))
        moved = [1000 * (b.start_s - a.start_s) for a, b in zip(before, after, strict=True)]
        shift_ms = tuple(np.percentile(moved, SHIFTS).round(2).tolist())
    n_found = int(labels.found.sum())
    return TakeReport(
        name=take.name,
        file=take.path.name,
        labels=take.labels,
        start_s=take.span_s[0],
        seconds=seconds,
        used=len(notes) - n_found <= MOST_LOST * len(notes),
        notes=len(notes),
        found=n_found,
        dropped=dict(dropped),
        left_out=labels.left_out,
        keys={str(key): n for key, n in sorted(Counter(note.pitch for note in notes).items())},
        velocities=(0, 0, 0),  # see `_with_velocities`
        a4_hz=440 * 2 ** (labels.tuning_cents / 1200),
        level_dbfs=level_dbfs,
        peak_dbfs=peak_dbfs,
        floor_db=floor_db,
        offset_s=labels.offset_s,
        drift_ppm=labels.drift_ppm,
        shift_ms=shift_ms,
        struck=None if heard else labels.struck,
        confidence=None if heard else float(np.median(labels.confidence)),
    )


def _report_levels(reports: Sequence[TakeReport], options: Options, report: Callable[[str], None]) -> None:
    loud, soft = (pick(reports, key=lambda one: one.level_dbfs) for pick in (max, min))
    if not options.level_each and (apart_db := loud.level_dbfs - soft.level_dbfs) > LOUDER_DB:
        report(f"{loud.file} is {apart_db:.0f} dB louder than {soft.file}: another gain?")
    for one in reports:
        if one.floor_db is not None and one.floor_db < NOISE_DB:
            report(f"{one.file}: noise {one.floor_db:.0f} dB below the music; the instrument will learn it")


def _cuts(one: Found, used: Sequence[Found], options: Options) -> list[tuple[Piece, int]]:
    """The pieces that a take becomes, without checksums, and the sample of the take at which each begins."""
    take, notes, rate = one.take, one.notes, options.sample_rate_hz
    first_s, last_s = _kept_s(notes, one.report.seconds)
    parts = [(take.name, take.split or "train", first_s, last_s)]
    longest = max(used, key=lambda other: _span_s(other.notes))
    if one is longest and len(notes) > 1 and not any(other.take.split == "valid" for other in used):
        middle_s = rest_s(notes)
        parts = [(take.name, "train", first_s, middle_s), (take.name + HELD_OUT, "valid", middle_s, last_s)]
    cuts = []
    for name, split, start_s, stop_s in parts:
        first, stop = round(start_s * rate), round(stop_s * rate)
        spans = _samples([(a, b) for a, b, _ in one.report.left_out], first, stop, rate)
        piece = Piece(name, split, stop - first, 1.0, take.path.name, "", "", "", spans, take.labels)
        cuts.append((piece, first))
    return cuts


def _part(notes: Sequence[Note], first: int, stop: int, rate: int) -> dict[int, Note]:
    """The notes that begin in samples `first` to `stop`, by number, with times from there on."""
    kept = {}
    for number, note in enumerate(notes):
        if first <= round(note.start_s * rate) < stop:
            begin_s = max(0.0, note.start_s - first / rate)
            end_s = min(note.end_s - first / rate, (stop - first) / rate)
            if begin_s < end_s:
                kept[number] = replace(note, start_s=begin_s, end_s=end_s)
    return kept


def _samples(spans_s: Sequence[tuple[float, float]], first: int, stop: int, rate: int) -> tuple[tuple[int, int], ...]:
    """Spans in seconds as spans of samples from `first`, within it and `stop`; those that touch are joined."""
    inside = np.zeros(stop - first, bool)
    for start_s, end_s in spans_s:
        inside[max(int(start_s * rate) - first, 0) : max(math.ceil(end_s * rate) - first, 0)] = True
    return tuple((a, b) for a, b in runs(inside).tolist())


def _write(
    corpus: Corpus,
    found: Sequence[Found],
    cuts: Mapping[str, Sequence[tuple[Piece, int]]],
    options: Options,
) -> Corpus:
    """Write the pieces, the notes of every take, the report and the manifest.

    The sound is read again, so that no more than one recording is in memory.
    """
    folder, rate, pieces = corpus.folder, corpus.sample_rate_hz, []
    try:
        for one in found:
            take, labels = one.take, one.labels
            write_notes(folder / NOTES / f"{take.name}.csv", labels.notes, labels.found, labels.confidence)
            samples = options.read(take).samples
            for cut, first in cuts.get(take.name, ()):
                part = samples[first : first + cut.n_samples] * np.float32(options.gain(one.report))
                piece = replace(cut, peak=max(float(np.abs(part).max()), 1e-6), source_sha256=sha256(take.path))
                kept = _part(labels.notes, first, first + cut.n_samples, rate)
                there = labels.found[list(kept)].tolist()
                pieces.append(write_piece(corpus, piece, part * np.float32(corpus.gain), kept.values(), there))
        write_reports(folder, [one.report for one in found])
        corpus = replace(corpus, pieces=tuple(sorted(pieces, key=lambda piece: piece.name)))
        write_manifest(corpus)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
    return corpus


def rest_s(notes: Sequence[Note]) -> float:
    """Where to cut music, sorted by onset, so that about a fifth remains: 10 ms before the note of `last_fifth`."""
    number = last_fifth(notes)
    start_s = notes[number].start_s
    return start_s - min(0.01, (start_s - notes[number - 1].start_s) / 2)
