"""Corpora: the recordings of one instrument and their scores, as a folder.

    manifest.json      what the corpus was made from, and a checksum of each file
    audio/NAME.flac    16 bit, mono, as the teacher plays it: clean, the dither is added to each training slice
    scores/NAME.json   note events {"pitch": [...], "velocity": [...], "start_s": [...], "end_s": [...]}
    etudes/NAME.mid    the études among the pieces, if there are any: scores that were made for this corpus

Times are seconds on the teacher's block grid, so that roll and audio agree to the sample. One gain holds for the
whole corpus, so that the loudest piece peaks at 0.9 of full scale: with a gain for each piece, the same note would
have another amplitude in each. A corpus is a function of the scores, the sound font and FluidSynth's version alone:
`build_corpus` renders what is missing, changed or damaged, and arrives at the same bytes from whatever was there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from synthnet.audio.files import write_audio
from synthnet.corpus.corpus import (
    NOTE_COLUMNS,
    VERSION,
    Corpus,
    Piece,
    _check,
    _clock,
    _read_manifest,
    _write_manifest,
    read_corpus,
)
from synthnet.corpus.teacher import Teacher, find_soundfont, fluidsynth_version
from synthnet.files import InputError, atomic_write, sha256
from synthnet.score.dynamics import add_dynamics
from synthnet.score.etudes import compose_etudes
from synthnet.score.general_midi import MidiInstrument
from synthnet.score.midi import midi_bytes, read_score, write_midi
from synthnet.score.notes import Score

PEAK = 0.9

TAIL_S = 0.5  # after the last note, so that its release is heard

VALIDATION_PIECE = "prelude"

ETUDES = "etudes"  # the folder within the corpus's

WIDE_MINUTES = 24.0  # of études in a default corpus of wide velocities


# The training scores: a wheel carries them inside the package, a clone beside it.
_PACKAGE = Path(__file__).parent.parent

_HOME = _PACKAGE if (_PACKAGE / "data" / "scores").is_dir() else _PACKAGE.parent

DEFAULT_SCORES = _HOME / "data" / "scores"


DEFAULT_CORPORA = Path("data/corpora")  # below the folder that one works in


@dataclass(frozen=True)
class _Source:
    """A score to be played, the split it belongs to and the SHA-256 of its MIDI file."""

    path: Path
    split: str
    checksum: str
    score: Score

    @property
    def name(self) -> str:
        return self.path.stem


def _say_nothing(line: str) -> None:
    pass


def build_corpus(
    folder: Path,
    instrument: MidiInstrument,
    scores: Sequence[Path],
    sample_rate_hz: int = 16_000,
    soundfont: Path | None = None,
    valid: Sequence[str] = (),
    report: Callable[[str], None] = _say_nothing,
    etudes: Mapping[str, Score] | None = None,
) -> Corpus:
    """Have the teacher play `scores` (MIDI files, or folders of them) on `instrument`, into the folder.

    `etudes`, scores by name, are pieces too (`synthnet.score.etudes`): the corpus keeps their MIDI files.
    Pieces with one of the words `valid` in their file name, in upper or lower case, are the validation split, all
    others the training split; without words these are the pieces with "prelude" in their name, if there are any. What
    is in the folder already and still right is kept, pieces that are no longer among the scores are removed. `report`
    gets a line for each step and for everything in a score that the corpus does not hold.

    Raises InputError, before anything is written, when a score cannot be used (all of them are listed, a line
    each), when no piece is left to train on, or when the teacher cannot play; and when the folder cannot be written.
    """
    folder = Path(folder)
    made = {folder / ETUDES / f"{name}.mid": score for name, score in (etudes or {}).items()}
    sources = _read_sources(scores, made, valid)
    soundfont = find_soundfont(soundfont)
    teacher = Teacher(soundfont, instrument.program, sample_rate_hz)
    corpus = Corpus(
        folder=folder,
        version=VERSION,
        instrument=instrument.name,
        program=instrument.program,
        sample_rate_hz=sample_rate_hz,
        soundfont=soundfont.name,
        soundfont_sha256=sha256(soundfont),
        fluidsynth=fluidsynth_version(),
        gain=1.0,
        pieces=(),
    )
    try:
        before = _read_manifest(folder)
    except InputError:
        before = corpus
    known: dict[str, Piece] = {}  # whose source and teacher are still the same
    if replace(before, gain=1.0, pieces=()) == corpus:
        checksums = {source.name: source.checksum for source in sources}
        known = {piece.name: piece for piece in before.pieces if piece.source_sha256 == checksums.get(piece.name)}

    peaks: dict[str, float] = {}
    for source in sources:
        for remark in _remarks(source.score, instrument):
            report(f"{source.path}: {remark}")
        if source.name in known:
            peaks[source.name] = known[source.name].peak
        else:
            peaks[source.name] = float(np.abs(_play(teacher, source)).max())
            report(f"{source.name}: level measured")
    silent = [source.path for source in sources if peaks[source.name] == 0]
    _raise_all([f"{path}: the sound font has no sound for its notes" for path in silent], len(sources))
    corpus = replace(corpus, gain=PEAK / max(peaks.values()))

    pieces = []
    try:
        _keep_etudes(folder, sources, made)
        for source in sources:
            piece = known.get(source.name)
            if piece is not None and before.gain == corpus.gain and _is_intact(corpus, piece):
                pieces.append(replace(piece, split=source.split, source=source.path.name))
                report(f"{source.name}: unchanged")
            else:
                pieces.append(_render(corpus, teacher, source, peaks[source.name]))
                report(f"{source.name}: rendered, {_clock(pieces[-1].n_samples / sample_rate_hz)}")
        corpus = replace(corpus, pieces=tuple(pieces))
        _write_manifest(corpus)
        for piece in before.pieces:
            if piece.name not in peaks:
                before.audio_path(piece).unlink(missing_ok=True)
                before.score_path(piece).unlink(missing_ok=True)
                report(f"{piece.name}: removed, its score is no longer given")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
    if not corpus.split("valid"):
        report(f"no validation piece: none has {VALIDATION_PIECE!r} in its name")
    return corpus


def _read_sources(scores: Sequence[Path], made: Mapping[Path, Score], valid: Sequence[str]) -> list[_Source]:
    """The scores sorted by name, those `made` for the corpus too, which are no files yet.

    Raises InputError that lists every one that cannot be used.
    """
    faults = []
    paths: list[Path] = []
    for given in map(Path, scores):
        found = _midi_files(given) if given.is_dir() else [given]
        if not found:
            faults.append(f"{given}: a folder without .mid or .midi files")
        paths += found
    paths = list({path.resolve(): path for path in [*paths, *made]}.values())
    patterns = [word.lower() for word in valid] or [VALIDATION_PIECE]
    sources: dict[str, _Source] = {}
    for path in paths:
        try:
            if path in made:
                score, checksum = made[path], hashlib.sha256(midi_bytes(made[path])).hexdigest()
            else:
                score, checksum = read_score(path), sha256(path)
        except InputError as fault:
            faults.append(str(fault))
            continue
        if path.stem in sources:
            faults.append(f"{path}: has the same name as {sources[path.stem].path}")
            continue
        split = "valid" if any(word in path.name.lower() for word in patterns) else "train"
        sources[path.stem] = _Source(path, split, checksum, score)
    _raise_all(faults, max(len(paths), len(faults)))
    if not sources:
        raise InputError("no scores given")
    for word in valid:
        if not any(word.lower() in source.path.name.lower() for source in sources.values()):
            raise InputError(f"{word}: no score has this in its name")
    if all(source.split == "valid" for source in sources.values()):
        told = " or ".join(repr(word) for word in patterns)
        raise InputError(f"no score is left to train on: all {len(sources)} have {told} in their names")
    return [sources[name] for name in sorted(sources)]


def _keep_etudes(folder: Path, sources: Sequence[_Source], made: Mapping[Path, Score]) -> None:
    """Write the MIDI files of the études that were made, and remove those of former ones that are no source now."""
    for source in sources:
        if source.path in made and not (source.path.is_file() and sha256(source.path) == source.checksum):
            write_midi(source.score, source.path)
    used = {source.path.resolve() for source in sources}
    for path in (folder / ETUDES).glob("etude_*.mid"):
        if path.resolve() not in used:
            path.unlink()
    with contextlib.suppress(OSError):  # there is none, or it holds something else
        (folder / ETUDES).rmdir()


def _midi_files(folder: Path) -> list[Path]:
    """The MIDI files in a folder and the folders below it, but not hidden ones."""
    return sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in (".mid", ".midi") and not path.name.startswith(".")
    )


def _raise_all(faults: Sequence[str], n_scores: int) -> None:
    if faults:
        head = [f"{len(faults)} of {n_scores} scores cannot be used:"] if n_scores > 1 else []
        raise InputError("\n".join([*head, *faults]))


def _remarks(score: Score, instrument: MidiInstrument) -> list[str]:
    """What of a score the corpus does not hold, or an instrument does not usually play."""
    remarks = []
    left_out = score.left_out_line(score.tracks)
    if left_out:
        remarks.append(left_out)
    low, high = instrument.lowest_pitch, instrument.highest_pitch
    n_outside = sum(not low <= note.pitch <= high for note in score.notes)
    if n_outside:
        remarks.append(f"{n_outside} notes outside the range of the {instrument.name}, {low} to {high}")
    return remarks


def _play(teacher: Teacher, source: _Source) -> np.ndarray:
    """The piece in the teacher's unit, with its tail: float32 [n_samples]."""
    notes = teacher.snap(source.score.notes)
    return teacher.play(notes, max(note.end_s for note in notes) + TAIL_S)


def _is_intact(corpus: Corpus, piece: Piece) -> bool:
    try:
        _check(corpus.audio_path(piece), piece.audio_sha256)
        _check(corpus.score_path(piece), piece.score_sha256)
    except InputError:
        return False
    return True


def _render(corpus: Corpus, teacher: Teacher, source: _Source, peak: float) -> Piece:
    """Write the two files of a piece."""
    samples = _play(teacher, source) * np.float32(corpus.gain)
    piece = Piece(source.name, source.split, len(samples), peak, source.path.name, source.checksum, "", "")
    write_audio(corpus.audio_path(piece), samples, corpus.sample_rate_hz)
    notes = teacher.snap(source.score.notes)
    columns = {column: [getattr(note, column) for note in notes] for column in NOTE_COLUMNS}
    with atomic_write(corpus.score_path(piece)) as beside:
        beside.write_text(json.dumps(columns) + "\n", "utf-8")
    return replace(
        piece,
        score_sha256=sha256(corpus.score_path(piece)),
        audio_sha256=sha256(corpus.audio_path(piece)),
    )


def default_folder(name: str, sample_rate_hz: int, wide: bool) -> Path:
    """Where the default corpus of an instrument of this name lies, as in data/corpora/trumpet-16000-narrow.

    Args:
        wide: velocities from very soft to very loud; else those of the training movements, 100, and near it.
    """
    return DEFAULT_CORPORA / f"{name}-{sample_rate_hz}-{'wide' if wide else 'narrow'}"


def default_corpus(
    instrument: MidiInstrument, sample_rate_hz: int, wide: bool, report: Callable[[str], None] = _say_nothing
) -> Corpus:
    """The corpus of an instrument in its default folder, built if it is not there yet.

    From BWV 1007; with wide velocities, played with dynamics, and beside 24 minutes of études.
    """
    folder = default_folder(instrument.name, sample_rate_hz, wide)
    if (folder / "manifest.json").exists():
        return read_corpus(folder)
    sources = "Bach's Cello Suite no. 1" + (" and études" if wide else "")
    report(f"{folder}: building the {instrument.name} corpus from {sources}")
    if not wide:
        return build_corpus(folder, instrument, [DEFAULT_SCORES], sample_rate_hz, report=report)
    made = compose_etudes(instrument, WIDE_MINUTES, wide=True)
    for seed, path in enumerate(sorted(DEFAULT_SCORES.glob("*.mid"))):
        made[path.stem] = add_dynamics(read_score(path), seed)
    return build_corpus(folder, instrument, [], sample_rate_hz, report=report, etudes=made)
