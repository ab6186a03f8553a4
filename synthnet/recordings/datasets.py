"""Public datasets of solo recordings with notes: a reader each, from the dataset's folder as it is unpacked.

Nothing is downloaded here. A reader yields the pieces that were chosen, in the order of the dataset's own table, and
a line for each that is not there. See `READERS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from synthnet.files import InputError
from synthnet.recordings.pairs import EXACT, LONGEST_S, NO_VELOCITY, PERFORMED, Row, Take, notes_of_score, read_rows
from synthnet.score.notes import Note, in_order

MUSICNET_RATE_HZ = 44_100  # its labels count samples
MUSICNET_CREDIT = "MusicNet (Thickstun et al. 2017), {source}, CC BY 4.0"
MAESTRO_CREDIT = "MAESTRO v3 (Hawthorne et al. 2019), CC BY-NC-SA 4.0"


def musicnet(folder: Path, chosen: Callable[[str], bool], program: int) -> Iterator[Take | str]:
    """MusicNet: `{train,test}_data/ID.wav`, `{train,test}_labels/ID.csv`, `musicnet_metadata.csv`.

    Times are samples, and instruments are General MIDI counted from 1. Pieces with another one than `program` are
    passed over. The labels are an alignment by the dataset's authors, some 50 ms off for bowed and blown notes, so they
    are refined.
    """
    for about in read_rows(folder / "musicnet_metadata.csv", ("id", "source")):
        if not chosen(name := str(about.whole("id", 0, 10**6))):
            continue
        path = _first(folder, f"*_data/{name}.wav")
        labels = _first(folder, f"*_labels/{name}.csv")
        if path is None or labels is None:
            yield f"{folder}: piece {name} has no {'sound' if path is None else 'label'} file"
            continue
        rows = read_rows(labels, ("start_time", "end_time", "instrument", "note"))
        heard = {row.whole("instrument", 1, 128) - 1 for row in rows}
        if heard != {program}:
            yield f"{labels}: plays programs {', '.join(map(str, sorted(heard)))}, not {program} alone"
            continue
        notes = in_order(_note(row, "start_time", "end_time", "note", 1 / MUSICNET_RATE_HZ) for row in rows)
        credit = MUSICNET_CREDIT.format(source=about.values["source"])
        yield Take(name, path, notes, PERFORMED, credit=credit)


def maestro(folder: Path, chosen: Callable[[str], bool], program: int) -> Iterator[Take | str]:
    """MAESTRO v3: `maestro-v3.0.0.csv` and `YEAR/*.{wav,midi}`; words may be years, each of which has another piano.

    The MIDI files were recorded with the sound. The dataset's validation split validates; its test split is left alone.
    """
    columns = ("split", "year", "midi_filename", "audio_filename")
    for row in read_rows(_first(folder, "maestro-v*.csv") or folder / "maestro-v3.0.0.csv", columns):
        sound, midi = (folder / row.values[column] for column in ("audio_filename", "midi_filename"))
        if not (chosen(row.values["year"]) or chosen(sound.stem)) or row.values["split"] == "test":
            continue
        if missing := [path for path in (sound, midi) if not path.is_file()]:
            yield f"{missing[0]}: not here, so this piece is passed over"
            continue
        split = "valid" if row.values["split"] == "validation" else "train"
        yield Take(sound.stem, sound, notes_of_score(midi), EXACT, split, credit=MAESTRO_CREDIT)


def bach_violin(folder: Path, chosen: Callable[[str], bool], program: int) -> Iterator[Take | str]:
    """The Bach Violin Dataset: `info.csv`, `audio.csv`, `audio/`, `notes/` and `alignments/`, each by collection.

    A movement is a part of a sound file, from `start` on, from which its alignment counts. Rows of an alignment belong
    to those of the note list. They lie on a grid of 32 ms, so they are refined. Some recordings are links only.
    """
    about = {row.values["filename"]: row.values for row in read_rows(folder / "audio.csv", AUDIO_COLUMNS)}
    for row in read_rows(folder / "info.csv", INFO_COLUMNS):
        name, group, source = (row.values[column] for column in ("filename", "collection", "source_filename"))
        if not chosen(name):
            continue
        sound = folder / "audio" / group / source
        if not sound.is_file():
            url = about.get(source, {}).get("url", "no address")
            yield f"{sound}: not here, so {name} is passed over; it comes from {url}"
            continue
        pitches = read_rows(folder / "notes" / group / f"{name}.csv", ("pitch",))
        times = read_rows(path := folder / "alignments" / group / f"{name}.csv", ("start", "end"))
        if len(pitches) != len(times):
            raise InputError(f"{path}: {len(times)} rows for {len(pitches)} notes")
        both = (Row(when.where, {**what.values, **when.values}) for what, when in zip(pitches, times, strict=True))
        notes = in_order(_note(one, "start", "end", "pitch") for one in both)
        player, licence = row.values["violinist_name"], about.get(source, {}).get("license", "-")
        credit = f"{player}, {'licence unknown' if licence == '-' else licence} (Bach Violin Dataset, Dong et al. 2022)"
        span_s = (_clock_s(row, "start"), _clock_s(row, "end"))
        yield Take(name, sound, notes, PERFORMED, span_s=span_s, credit=credit)


AUDIO_COLUMNS = ("filename", "license", "url")
INFO_COLUMNS = ("filename", "collection", "violinist_name", "source_filename", "start", "end")

Reader = Callable[[Path, Callable[[str], bool], int], Iterator[Take | str]]
READERS: dict[str, tuple[Reader, tuple[str, ...]]] = {  # and files by which a folder is recognised
    "musicnet": (musicnet, ("musicnet_metadata.csv", "*_labels")),
    "maestro": (maestro, ("maestro-v*.csv",)),
    "bach-violin": (bach_violin, ("info.csv", "alignments")),
}


def format_of(folder: Path) -> str | None:
    """The dataset that a folder holds, a key of `READERS`, or None."""
    return next((name for name, (_, marks) in READERS.items() if all(_first(folder, mark) for mark in marks)), None)


def read_dataset(folder: Path, name: str, pieces: str | None, program: int) -> tuple[list[Take], list[str]]:
    """The pieces of a dataset, and a line for each that was asked for and is not there.

    Args:
        name: a key of `READERS`.
        pieces: numbers, ranges of them and beginnings of names, with commas, as in 2217-2222,2293 or john-garner; all
            if None.

    Raises:
        InputError: its tables or notes cannot be used, or it has nothing for one of the words of `pieces`.
    """
    chosen = Chosen(pieces)
    found = list(READERS[name][0](folder, chosen, program))
    chosen.check(folder)
    takes, lines = [one for one in found if isinstance(one, Take)], [one for one in found if isinstance(one, str)]
    if not takes:
        raise InputError(lines[0] if lines else f"{folder}: no pieces")
    return takes, lines


def chosen_takes(folder: Path, takes: list[Take], pieces: str | None) -> list[Take]:
    """Those of the takes from a folder that are meant by `pieces`, as for `read_dataset`."""
    chosen = Chosen(pieces)
    kept = [take for take in takes if chosen(take.name)]
    chosen.check(folder)
    return kept


class Chosen:
    """Whether a piece is meant by the words of a text, and whether each word meant one."""

    def __init__(self, pieces: str | None) -> None:
        self.words = [word.strip() for word in (pieces or "").split(",") if word.strip()]
        self.met: set[str] = set()

    def __call__(self, piece: str) -> bool:
        fitting = [word for word in self.words if _fits(piece, word)]
        self.met.update(fitting)
        return bool(fitting) or not self.words

    def check(self, folder: Path) -> None:
        """Raise InputError for a word that meant no piece."""
        for word in self.words:
            if word not in self.met:
                raise InputError(f"{folder}: no piece {word} in it")


def _fits(piece: str, word: str) -> bool:
    """Whether a piece is meant by a word: a range of numbers, a number, or the beginning of its name."""
    if piece.isdecimal() and (ends := re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", word)):
        return int(ends[1]) <= int(piece) <= int(ends[2] or ends[1])
    return piece.startswith(word)


def _first(folder: Path, pattern: str) -> Path | None:
    return min(folder.glob(pattern), default=None)


def _note(row: Row, start: str, end: str, pitch: str, unit_s: float = 1.0) -> Note:
    """A note of a row, whose times are in units of so many seconds; it lasts at least a millisecond."""
    start_s, end_s = (row.number(column, 0, LONGEST_S) * unit_s for column in (start, end))
    return Note(row.whole(pitch, 0, 127), NO_VELOCITY, start_s, max(end_s, start_s + 1e-3))


def _clock_s(row: Row, column: str) -> float:
    """Seconds of a time such as 0:01:46; InputError for anything else."""
    if not re.fullmatch(r"\d+:\d\d:\d\d", text := row.values[column]):
        raise InputError(f"{row.where}: {column} is {text!r:.40}, not a time as 0:01:46")
    return float(sum(int(part) * 60**power for power, part in enumerate(reversed(text.split(":")))))
