"""Recordings and where their notes come from: files paired by name, and notes in CSV files."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from synthnet.corpus.corpus import HEARD
from synthnet.files import InputError
from synthnet.score.midi import read_score
from synthnet.score.notes import Note, in_order

SOUNDS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".w64", ".caf")
KINDS = {**dict.fromkeys(SOUNDS, "sound"), ".mid": "score", ".midi": "score", ".csv": "notes"}
ANCHORS = ".anchors"  # ends the stem of a CSV file of anchors
SCORE, PERFORMED, EXACT = LABELS = ("score", "performed", "exact")
NO_VELOCITY = 64  # of all notes where velocities are not known
LONGEST_S = 1e9  # of a time in a CSV file; how it fits the recording is checked later


@dataclass(frozen=True)
class Take:
    """A recording to learn from.

    Attributes:
        name: of the piece; it names files.
        notes: those given, in seconds; none where they are transcribed.
        labels: what the notes are, one of `LABELS`, or `HEARD`.
        split: "train" or "valid" where a dataset says so.
        span_s: the part of the file that is meant; the notes' times count from its start. None: to its end.
        anchors: times in the score and in the recording that belong together.
        credit: player and licence.
    """

    name: str
    path: Path
    notes: tuple[Note, ...] = ()
    labels: str = HEARD
    split: str = ""
    span_s: tuple[float, float | None] = (0.0, None)
    anchors: tuple[tuple[float, float], ...] = ()
    credit: str = ""


def find_pairs(
    folder: Path, scores: Path | None = None, labels: str | None = None, track: int | None = None
) -> tuple[list[Take], list[str]]:
    """The recordings below a folder that have notes beside them, and a line for every file that has no partner.

    Beside NAME.wav, or another kind of sound file, lies NAME.csv or NAME.mid, of which the first counts; maybe
    NAME.anchors.csv. Names are compared after Unicode NFC and without case. Hidden files are passed over.

    Args:
        scores: a folder with the notes, where they are found by name alone.
        labels: what the notes are; default: "score" for a MIDI file, "exact" for a CSV file.
        track: number of the MIDI files' track; default: all, if they have one program.

    Raises:
        InputError: no such folder, no pair, two files of one name, or notes that cannot be used.
    """
    for needed in (folder, scores or folder):
        if not needed.is_dir():
            raise InputError(f"{needed}: no such folder")
    sounds = [(key, path) for key, path in _files(folder, by_place=True).items() if key[2] == "sound"]
    partners = _files(scores or folder, by_place=scores is None)
    takes, lines, used = [], [], set[Path | None]()
    for (place, stem, _), path in sounds:
        where = ("" if scores else place, stem)
        score, notes, anchors = (partners.get((*where, kind)) for kind in ("score", "notes", "anchors"))
        used |= {score, notes, anchors}
        if score and notes:
            lines.append(f"{score}: passed over, {notes.name} counts")
        if notes is None and score is None:
            lines.append(f"{path}: no {path.stem}.mid or .csv {'beside it' if scores is None else f'in {scores}'}")
            continue
        takes.append(
            Take(
                "-".join(path.relative_to(folder).with_suffix("").parts),
                path,
                notes_in(notes) if notes else notes_of_score(score, track) if score else (),
                labels or (EXACT if notes else SCORE),
                anchors=anchors_in(anchors) if anchors else (),
            )
        )
    left = (path for key, path in partners.items() if key[2] != "sound" and path not in used)
    lines += [f"{path}: no recording of this name" for path in left]
    if not takes:
        alone = "; synthnet learn takes recordings without a score" if sounds else ""
        raise InputError(f"{folder}: no sound file with a .mid or .csv file of its name{alone}")
    return takes, lines


def _files(folder: Path, by_place: bool) -> dict[tuple[str, str, str], Path]:
    """Files below a folder by place (or ""), normal name and kind."""
    found: dict[tuple[str, str, str], Path] = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        kind = KINDS.get(path.suffix.lower())
        if kind is None or any(part.startswith(".") for part in inside.parts) or not path.is_file():
            continue
        stem = unicodedata.normalize("NFC", path.stem).casefold()
        if kind == "notes" and stem.endswith(ANCHORS):
            kind, stem = "anchors", stem.removesuffix(ANCHORS)
        key = (str(inside.parent) if by_place else "", stem, kind)
        if key in found and (by_place or kind != "sound"):
            raise InputError(f"{path}: has the same name as {found[key]}")
        found[key] = path
    return found


def notes_of_score(path: Path, track: int | None = None) -> tuple[Note, ...]:
    """The notes of a MIDI file, or of one track of it; drums are never among them.

    Raises:
        InputError: see `read_score`; also no such track, or several programs and no track chosen.
    """
    tracks = read_score(path).tracks
    listed = ", ".join(f"{number} (program {track.program})" for number, track in enumerate(tracks))
    if track is not None:
        if track >= len(tracks):
            raise InputError(f"{path}: no track {track}; there are {listed}")
        tracks = (tracks[track],)
    elif len({track.program for track in tracks}) > 1:
        raise InputError(f"{path}: tracks of several programs, {listed}; choose one by --track")
    return _once(note for track in tracks for note in track.notes)


def _once(notes: Iterable[Note]) -> tuple[Note, ...]:
    """The notes in order; of those with one key and onset, as of two hands in unison, the longest."""
    longest: dict[tuple[int, float], Note] = {}
    for note in notes:
        key = (note.pitch, note.start_s)
        if key not in longest or note.end_s > longest[key].end_s:
            longest[key] = note
    return in_order(longest.values())


@dataclass(frozen=True)
class Row:
    """A row of a CSV file; `where` names the file and the line."""

    where: str
    values: dict[str, str]

    def number(self, column: str, low: float, high: float) -> float:
        """A finite number from `low` to `high`; InputError for anything else."""
        try:
            value = float(self.values[column])
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise InputError(f"{self.where}: {column} is {self.values[column]!r:.40}, not from {low:,g} to {high:,g}")
        return value

    def whole(self, column: str, low: int, high: int) -> int:
        """A whole number from `low` to `high`; InputError for anything else."""
        value = self.number(column, low, high)
        if value != int(value):
            raise InputError(f"{self.where}: {column} is {self.values[column]!r:.40}, not a whole number")
        return int(value)


def read_rows(path: Path, columns: Sequence[str]) -> list[Row]:
    """The rows of a CSV file whose first line names its columns; empty lines are passed over.

    Raises:
        InputError: it cannot be read, lacks one of the columns, has a row of another length, or no rows.
    """
    try:
        text = path.read_text("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        head = [name.strip() for name in next(reader, [])]
        for column in columns:
            if column not in head:
                raise InputError(f"{path}, line 1: no column {column}; needed: {', '.join(columns)}")
        rows = []
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if row and len(row) != len(head):
                raise InputError(f"{where}: {len(row)} values, but {len(head)} columns")
            if row:
                rows.append(Row(where, dict(zip(head, row, strict=True))))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file ({error})") from None
    if not rows:
        raise InputError(f"{path}: no rows")
    return rows


def notes_in(path: Path) -> tuple[Note, ...]:
    """The notes of a CSV file with columns start_s, end_s, pitch, and maybe velocity; InputError names the line."""
    rows, notes = read_rows(path, ("start_s", "end_s", "pitch")), []
    known = all(row.values.get("velocity") for row in rows)
    for row in rows:
        start_s, end_s = (row.number(column, 0, LONGEST_S) for column in ("start_s", "end_s"))
        if not start_s < end_s:
            raise InputError(f"{row.where}: the note ends at {end_s:g} s, but begins at {start_s:g} s")
        velocity = row.whole("velocity", 1, 127) if known else NO_VELOCITY
        notes.append(Note(row.whole("pitch", 0, 127), velocity, start_s, end_s))
    return _once(notes)


def anchors_in(path: Path) -> tuple[tuple[float, float], ...]:
    """The anchors of a CSV file with columns score_s, audio_s; InputError for less than two, or if they do not rise."""
    rows = read_rows(path, ("score_s", "audio_s"))
    found = [(row.number("score_s", 0, LONGEST_S), row.number("audio_s", 0, LONGEST_S)) for row in rows]
    for row, before, here in zip(rows[1:], found, found[1:], strict=False):
        if not (before[0] < here[0] and before[1] < here[1]):
            raise InputError(f"{row.where}: both times must be later than those of the anchor before")
    if len(found) < 2:
        raise InputError(f"{path}: one anchor; at least two are needed")
    return tuple(found)
