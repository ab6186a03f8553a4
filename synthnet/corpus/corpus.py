"""A corpus: the recordings of one instrument and their scores, as a folder.

    manifest.json      what the corpus was made from, and a checksum of each file
    audio/NAME.flac    16 bit, mono, as the teacher plays it: clean, the dither is added to each training slice
    scores/NAME.json   note events {"pitch": [...], "velocity": [...], "start_s": [...], "end_s": [...]},
                       of recordings also "found": [...]
    etudes/NAME.mid    scores that were made for this corpus, if there are any

`build_corpus` writes it; `synthnet.recordings` does from recordings.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from synthnet.audio import HIGHEST_RATE_HZ, LOWEST_RATE_HZ
from synthnet.audio.files import LONGEST_SAMPLES, read_audio, write_audio
from synthnet.audio.mulaw import dither_floor_nats
from synthnet.files import Checked, InputError, atomic_write, parse_json, sha256
from synthnet.score.general_midi import INSTRUMENT_NAME, pitch_name
from synthnet.score.notes import Note
from synthnet.text import clock

VERSION = 1  # of the folder's layout and of the rendering: raise it when either changes
SPLITS = ("train", "valid")
FULL_SCALE = 32_768
NOTE_COLUMNS = ("pitch", "velocity", "start_s", "end_s")  # as `Note` takes them
KEYS, VELOCITIES = range(128), range(1, 128)
HEARD = "heard"  # the labels of a recording whose notes were transcribed
STRAY = 200  # one of so many transcribed notes at each end of the keyboard does not count


@dataclass(frozen=True)
class Piece(Checked):
    """One recording: `n_samples` long, made from the file `source`; `peak` is the teacher's, before the gain.

    `left_out` are spans [start, stop) in samples, rising and apart, that are neither trained on nor measured: score and
    sound do not agree there. `labels` says where the notes of a player's recording come from; a teacher's have "".
    """

    name: str
    split: str
    n_samples: int = field(metadata={"range": (1, LONGEST_SAMPLES)})
    peak: float = field(metadata={"range": (1e-9, 1e9)})
    source: str
    source_sha256: str
    score_sha256: str
    audio_sha256: str
    left_out: tuple[tuple[int, int], ...] = ()
    labels: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.split not in SPLITS or Path(self.name).name != self.name or "\0" in self.name:
            raise InputError(f"piece {self.name!r} of split {self.split!r}")
        spans: Any = self.left_out
        listed = isinstance(spans, list | tuple) and all(isinstance(span, list | tuple) for span in spans)
        edges: list[Any] = [None]
        if listed:
            edges = [-1, *(edge for span in spans for edge in span), self.n_samples + 1]
        whole = all(type(edge) is int for edge in edges) and all(len(span) == 2 for span in spans)
        if not whole or not all(map(operator.lt, edges, edges[1:])):
            raise InputError(f"piece {self.name!r}: left_out must be rising [start, stop], not {self.left_out!r:.80}")
        object.__setattr__(self, "left_out", tuple(map(tuple, spans)))

    @property
    def kept(self) -> tuple[tuple[int, int], ...]:
        """The spans [start, stop) in samples between those left out; all of the piece where none are."""
        edges = [0, *(edge for span in self.left_out for edge in span), self.n_samples]
        return tuple((start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True) if start < stop)

    def leaves_out(self, start: int, stop: int) -> bool:
        """Whether any of the samples from `start` to before `stop` is left out."""
        return any(first < stop and start < last for first, last in self.left_out)

    def measured(self, samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
        """The whole seconds, and the remainder, of samples [n] from its start in which nothing is left out, joined.

        Raises:
            InputError: there are none.
        """
        seconds = range(0, len(samples), sample_rate_hz)
        parts = [samples[s : s + sample_rate_hz] for s in seconds if not self.leaves_out(s, s + sample_rate_hz)]
        if not parts:
            raise InputError(f"{self.name}: nothing is left to measure; every second has something that is left out")
        return np.concatenate(parts)


@dataclass(frozen=True)
class Corpus(Checked):
    """The content of a manifest; the pieces are sorted by name. `program` is 0-based General MIDI.

    `soundfont`, its checksum and `fluidsynth` are empty where no teacher played: `source` of a piece is a recording.
    `credit` names player and licence, if they are known.
    """

    folder: Path
    version: int
    instrument: str
    program: int = field(metadata={"range": (0, 127)})
    sample_rate_hz: int = field(metadata={"range": (LOWEST_RATE_HZ, HIGHEST_RATE_HZ)})
    soundfont: str
    soundfont_sha256: str
    fluidsynth: str
    gain: float = field(metadata={"range": (1e-9, 1e9)})
    pieces: tuple[Piece, ...]
    credit: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(INSTRUMENT_NAME, self.instrument):
            raise InputError(f"{self.instrument!r} is no instrument's name")

    def split(self, name: str) -> tuple[Piece, ...]:
        """The pieces of "train" or "valid"."""
        return tuple(piece for piece in self.pieces if piece.split == name)

    def compass(self) -> tuple[int, int]:
        """The lowest and the highest key to train on, see `compass`."""
        pieces = self.split("train")
        keys = Counter(note.pitch for piece in pieces for note in self.read_notes(piece))
        return compass(keys, any(piece.labels == HEARD for piece in pieces))

    def audio_path(self, piece: Piece) -> Path:
        """The piece's FLAC file."""
        return self.folder / "audio" / f"{piece.name}.flac"

    def score_path(self, piece: Piece) -> Path:
        """The piece's note events."""
        return self.folder / "scores" / f"{piece.name}.json"

    def read_samples(self, piece: Piece) -> np.ndarray:
        """The piece's audio, int16 [n_samples]; InputError when the file is not as the manifest says."""
        path = _checked(self.audio_path(piece), piece.audio_sha256)
        audio = read_audio(path)
        if (len(audio.samples), audio.sample_rate_hz) != (piece.n_samples, self.sample_rate_hz):
            raise InputError(f"{path}: has another length or sample rate than the manifest says")
        return np.clip(np.round(audio.samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)

    def read_audio(self, piece: Piece) -> np.ndarray:
        """The piece's audio, float32 [n_samples], full scale +-1; InputError as above."""
        return self.read_samples(piece).astype(np.float32) / FULL_SCALE

    def read_notes(self, piece: Piece) -> tuple[Note, ...]:
        """The piece's notes; InputError when the file is not as the manifest says."""
        path = _checked(self.score_path(piece), piece.score_sha256)
        try:
            columns = parse_json(path.read_bytes())
            events = zip(*(columns[column] for column in NOTE_COLUMNS), strict=True)
            notes = tuple(Note(pitch, velocity, float(start), float(end)) for pitch, velocity, start, end in events)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise InputError(f"{path}: not the columns of a score ({error})") from None
        end_s = piece.n_samples / self.sample_rate_hz
        for note in notes:
            keys = type(note.pitch) is type(note.velocity) is int and note.pitch in KEYS and note.velocity in VELOCITIES
            if not (keys and 0 <= note.start_s < note.end_s <= end_s):
                raise InputError(f"{path}: not within the keys, the velocities or the recording: {note!r:.120}")
        if not notes:
            raise InputError(f"{path}: no notes")
        return notes

    def read_found(self, piece: Piece) -> np.ndarray:
        """Which of the piece's notes were found in the sound, bool [N]: all of a teacher's; InputError as above."""
        n, path = len(self.read_notes(piece)), self.score_path(piece)
        found = parse_json(path.read_bytes()).get("found", [True] * n)
        if not isinstance(found, list) or len(found) != n or not all(type(one) is bool for one in found):
            raise InputError(f"{path}: its column found does not fit its notes")
        return np.array(found)


def compass(notes_by_key: Mapping[int, int], transcribed: bool) -> tuple[int, int]:
    """The lowest and the highest key that is played; of transcribed notes without half a percent at each end.

    A transcriber hears some notes that nobody played.
    """
    keys = sorted(notes_by_key)
    up_to = np.cumsum([notes_by_key[key] for key in keys])
    stray = up_to[-1] // STRAY if transcribed else 0
    return keys[np.searchsorted(up_to, stray, "right")], keys[np.searchsorted(up_to, up_to[-1] - stray)]


def has_checksum(path: Path, checksum: str) -> bool:
    """Whether a file exists and has this SHA-256."""
    return path.is_file() and sha256(path) == checksum


def _checked(path: Path, checksum: str) -> Path:
    if not has_checksum(path, checksum):
        raise InputError(f"{path}: missing, damaged or half rebuilt; build the corpus again")
    return path


def read_corpus(folder: Path) -> Corpus:
    """The corpus in a folder; the files of its pieces are checked when they are read.

    Raises InputError when there is no manifest, or when it is damaged or of another version.
    """
    folder = Path(folder)
    path = folder / "manifest.json"
    try:
        content = parse_json(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{folder}: not a corpus, it has no manifest.json") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: damaged, not JSON ({error})") from None
    version = content.get("version") if isinstance(content, dict) else None
    if version != VERSION:
        raise InputError(f"{path}: a corpus of version {version}, not {VERSION}; build it again")
    try:
        if not isinstance(pieces := content.pop("pieces", None), list) or not pieces:
            raise InputError("no pieces")
        return Corpus.from_dict({**content, "folder": folder, "pieces": tuple(map(Piece.from_dict, pieces))})
    except InputError as error:
        raise InputError(f"{path}: damaged, {error}") from None


def write_piece(
    corpus: Corpus, piece: Piece, samples: np.ndarray, notes: Iterable[Note], found: Sequence[bool] | None = None
) -> Piece:
    """Write the files of a piece, samples [n], notes and maybe which were found; the piece with their checksums."""
    audio, score = corpus.audio_path(piece), corpus.score_path(piece)
    write_audio(audio, samples, corpus.sample_rate_hz)
    notes = list(notes)
    columns: dict[str, Any] = {column: [getattr(note, column) for note in notes] for column in NOTE_COLUMNS}
    _write_text(score, json.dumps(columns if found is None else {**columns, "found": list(found)}))
    return replace(piece, score_sha256=sha256(score), audio_sha256=sha256(audio))


def write_manifest(corpus: Corpus) -> None:
    """Write manifest.json, which makes the folder a corpus: the last file to be written."""
    content = asdict(corpus)
    del content["folder"]
    _write_text(corpus.folder / "manifest.json", json.dumps(content, indent=2))


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path) as beside:
        beside.write_text(text + "\n", "utf-8")


@dataclass(frozen=True)
class SplitInfo:
    """Figures of a split: seconds by piece, in all and left out, notes, levels; the dither floor is a sample's."""

    pieces: dict[str, float]
    seconds: float
    left_out_s: float
    notes: int
    peak_dbfs: float
    rms_dbfs: float
    dither_floor_nats: float


@dataclass(frozen=True)
class CorpusInfo:
    """Figures of a corpus; `splits` holds those that have pieces, `notes_by_pitch` counts the notes of a MIDI key."""

    instrument: str
    program: int
    sample_rate_hz: int
    soundfont: str
    gain: float
    splits: dict[str, SplitInfo]
    notes_by_pitch: dict[int, int]

    def as_dict(self) -> dict[str, Any]:
        """The figures by name, ready for JSON."""
        return asdict(self)


def corpus_info(corpus: Corpus) -> CorpusInfo:
    """Figures of a corpus, all of its files read and checked."""
    splits = {}
    notes_by_pitch: Counter[int] = Counter()
    for split in SPLITS:
        pieces = corpus.split(split)
        if not pieces:
            continue
        clean = np.concatenate([corpus.read_audio(piece) for piece in pieces])
        pitches = [note.pitch for piece in pieces for note in corpus.read_notes(piece)]
        notes_by_pitch.update(pitches)
        splits[split] = SplitInfo(
            pieces={piece.name: piece.n_samples / corpus.sample_rate_hz for piece in pieces},
            seconds=len(clean) / corpus.sample_rate_hz,
            left_out_s=sum(b - a for piece in pieces for a, b in piece.left_out) / corpus.sample_rate_hz,
            notes=len(pitches),
            peak_dbfs=_decibels(float(np.abs(clean).max())),
            rms_dbfs=_decibels(float(np.sqrt(np.mean(clean**2, dtype=np.float64)))),
            dither_floor_nats=dither_floor_nats(clean),
        )
    source = (corpus.instrument, corpus.program, corpus.sample_rate_hz, corpus.soundfont, corpus.gain)
    return CorpusInfo(*source, splits, dict(sorted(notes_by_pitch.items())))


def format_info(info: CorpusInfo) -> str:
    """The figures as text for a terminal, at most 80 columns but for long names."""
    source = f"{info.instrument}, program {info.program}"
    source += f" of {info.soundfont}" if info.soundfont else ", recorded"
    lines = [
        f"{source}, {info.sample_rate_hz} Hz, gain {info.gain:.3f}",
        "",
        "split  pieces    time  notes  peak dBFS  RMS dBFS  dither floor, nats a sample",
    ]
    for name, split in info.splits.items():
        lines.append(
            f"{name:5}  {len(split.pieces):6}  {clock(split.seconds):>6}  {split.notes:5}  "
            f"{split.peak_dbfs:9.1f}  {split.rms_dbfs:8.1f}  {split.dither_floor_nats:12.3f}"
        )
    if left_out_s := sum(split.left_out_s for split in info.splits.values()):
        lines.append(f"left out of training and of figures: {left_out_s:.1f} s; see synthnet corpus report")
    for name, split in info.splits.items():
        lines += ["", f"{name}:", *(f"  {clock(seconds):>6}  {piece}" for piece, seconds in split.pieces.items())]
    most = max(info.notes_by_pitch.values())
    lines += ["", "notes by pitch:"]
    for pitch, count in info.notes_by_pitch.items():
        lines.append(f"  {pitch_name(pitch):4} {pitch:3} {count:6}  {'#' * math.ceil(56 * count / most)}")
    return "\n".join(lines)


def _decibels(amplitude: float) -> float:
    return 20.0 * math.log10(amplitude) if amplitude else -math.inf
