"""A corpus: the recordings of one instrument and their scores, as a folder."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

import numpy as np

from synthnet.audio.files import read_audio
from synthnet.audio.mulaw import dither_floor_nats
from synthnet.files import InputError, atomic_write, sha256
from synthnet.score.general_midi import NOTE_NAMES
from synthnet.score.notes import Note

VERSION = 1  # of the folder's layout and of the rendering: raise it when either changes

SPLITS = ("train", "valid")

FULL_SCALE = 32_768

NOTE_COLUMNS = ("pitch", "velocity", "start_s", "end_s")  # as `Note` takes them

BAR_COLUMNS = 56


T = TypeVar("T")


@dataclass(frozen=True)
class Piece:
    """One recording: `n_samples` long, made from the file `source`; `peak` is the teacher's, before the gain."""

    name: str
    split: str
    n_samples: int
    peak: float
    source: str
    source_sha256: str
    score_sha256: str
    audio_sha256: str


@dataclass(frozen=True)
class Corpus:
    """What the manifest says; the pieces are sorted by name. `program` is 0-based General MIDI."""

    folder: Path
    version: int
    instrument: str
    program: int
    sample_rate_hz: int
    soundfont: str
    soundfont_sha256: str
    fluidsynth: str
    gain: float
    pieces: tuple[Piece, ...]

    def split(self, name: str) -> tuple[Piece, ...]:
        """The pieces of "train" or "valid"."""
        return tuple(piece for piece in self.pieces if piece.split == name)

    def audio_path(self, piece: Piece) -> Path:
        """The piece's FLAC file."""
        return self.folder / "audio" / f"{piece.name}.flac"

    def score_path(self, piece: Piece) -> Path:
        """The piece's note events."""
        return self.folder / "scores" / f"{piece.name}.json"

    def read_samples(self, piece: Piece) -> np.ndarray:
        """The piece's audio, int16 [n_samples]; InputError when the file is not what the manifest says."""
        _check(self.audio_path(piece), piece.audio_sha256)
        samples = read_audio(self.audio_path(piece)).samples
        return np.round(samples * FULL_SCALE).astype(np.int16)

    def read_notes(self, piece: Piece) -> tuple[Note, ...]:
        """The piece's notes; InputError when the file is not what the manifest says."""
        _check(self.score_path(piece), piece.score_sha256)
        columns = json.loads(self.score_path(piece).read_text("utf-8"))
        return tuple(Note(*event) for event in zip(*(columns[c] for c in NOTE_COLUMNS), strict=True))


def _check(path: Path, checksum: str) -> None:
    if not path.is_file() or sha256(path) != checksum:
        raise InputError(f"{path}: missing, damaged or half rebuilt; build the corpus again")


def _write_manifest(corpus: Corpus) -> None:
    content = asdict(corpus)
    del content["folder"]
    with atomic_write(corpus.folder / "manifest.json") as beside:
        beside.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def read_corpus(folder: Path) -> Corpus:
    """The corpus in a folder.

    Raises InputError when there is no manifest, when it is damaged or of another version, or when a file is missing.
    The files' contents are checked when they are read.
    """
    corpus = _read_manifest(Path(folder))
    for piece in corpus.pieces:
        for path in (corpus.audio_path(piece), corpus.score_path(piece)):
            if not path.is_file():
                raise InputError(f"{path}: missing; build the corpus again")
    return corpus


def _read_manifest(folder: Path) -> Corpus:
    path = folder / "manifest.json"
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{folder}: not a corpus, it has no manifest.json") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: damaged, not JSON") from error
    version = content.get("version") if isinstance(content, dict) else None
    if version != VERSION:
        raise InputError(f"{path}: a corpus of version {version}, not {VERSION}; build it again")
    try:
        pieces = tuple(_from_json(Piece, piece) for piece in content.pop("pieces", ()))
        corpus = _from_json(Corpus, {**content, "folder": folder, "pieces": pieces})
        for piece in pieces:
            if piece.split not in SPLITS or Path(piece.name).name != piece.name:
                raise ValueError(f"piece {piece.name!r} of split {piece.split!r}")
        if not pieces:
            raise ValueError("no pieces")
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged, {error}") from error
    return corpus


def _from_json(kind: type[T], values: Any) -> T:
    """A dataclass from its fields; ValueError when one is missing, unknown or not of its type."""
    types = get_type_hints(kind)
    if not isinstance(values, dict) or values.keys() != types.keys():
        raise ValueError(f"a {kind.__name__.lower()} needs {', '.join(types)}")
    for name, value in values.items():
        if not isinstance(value, get_origin(types[name]) or types[name]):
            raise ValueError(f"{name} is {value!r}")
    return kind(**values)


def corpus_info(corpus: Corpus) -> dict[str, Any]:
    """Figures of a corpus, all of its files read and checked.

    Keys: instrument, program, sample_rate_hz, soundfont, gain; splits, for each split that has pieces: pieces (name
    to seconds), seconds, notes, peak_dbfs, rms_dbfs, dither_floor_nats (a sample, see `synthnet.evaluation.cqt`);
    notes_by_pitch, MIDI key to count, in all splits.
    """
    splits = {}
    notes_by_pitch: Counter[int] = Counter()
    for split in SPLITS:
        pieces = corpus.split(split)
        if not pieces:
            continue
        clean = np.concatenate([corpus.read_samples(piece) for piece in pieces]).astype(np.float32) / FULL_SCALE
        notes = [note for piece in pieces for note in corpus.read_notes(piece)]
        notes_by_pitch.update(note.pitch for note in notes)
        splits[split] = {
            "pieces": {piece.name: piece.n_samples / corpus.sample_rate_hz for piece in pieces},
            "seconds": len(clean) / corpus.sample_rate_hz,
            "notes": len(notes),
            "peak_dbfs": _decibels(float(np.abs(clean).max())),
            "rms_dbfs": _decibels(float(np.sqrt(np.mean(clean**2, dtype=np.float64)))),
            "dither_floor_nats": dither_floor_nats(clean),
        }
    return {
        "instrument": corpus.instrument,
        "program": corpus.program,
        "sample_rate_hz": corpus.sample_rate_hz,
        "soundfont": corpus.soundfont,
        "gain": corpus.gain,
        "splits": splits,
        "notes_by_pitch": dict(sorted(notes_by_pitch.items())),
    }


def format_info(info: Mapping[str, Any]) -> str:
    """The figures of `corpus_info` as text for a terminal, at most 80 columns but for long names."""
    lines = [
        f"{info['instrument']}, program {info['program']} of {info['soundfont']}, "
        f"{info['sample_rate_hz']} Hz, gain {info['gain']:.3f}",
        "",
        "split  pieces    time  notes  peak dBFS  RMS dBFS  dither floor, nats a sample",
    ]
    for name, split in info["splits"].items():
        lines.append(
            f"{name:5}  {len(split['pieces']):6}  {_clock(split['seconds']):>6}  {split['notes']:5}  "
            f"{split['peak_dbfs']:9.1f}  {split['rms_dbfs']:8.1f}  {split['dither_floor_nats']:12.3f}"
        )
    for name, split in info["splits"].items():
        lines += ["", f"{name}:"]
        lines += [f"  {_clock(seconds):>6}  {piece}" for piece, seconds in split["pieces"].items()]
    most = max(info["notes_by_pitch"].values())
    lines += ["", "notes by pitch:"]
    for pitch, count in info["notes_by_pitch"].items():
        name = f"{NOTE_NAMES[pitch % 12]}{pitch // 12 - 1}"
        lines.append(f"  {name:4} {pitch:3} {count:6}  {'#' * math.ceil(BAR_COLUMNS * count / most)}")
    return "\n".join(lines)


def _decibels(amplitude: float) -> float:
    return 20.0 * math.log10(amplitude) if amplitude else -math.inf


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02}"
