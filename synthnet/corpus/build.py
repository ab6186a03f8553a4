"""Have the teacher play scores, into the folder of a corpus.

Times are seconds on the teacher's block grid, so that roll and audio agree to the sample. One gain holds for the whole
corpus, so that the loudest piece peaks at 0.9 of full scale: with a gain for each piece, the same note would have
another amplitude in each. A corpus is a function of the scores, the sound font and FluidSynth's version alone:
`build_corpus` renders what is missing, changed or damaged, and arrives at the same bytes from whatever was there.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from synthnet.corpus.corpus import VERSION, Corpus, Piece, has_checksum, read_corpus, write_manifest, write_piece
from synthnet.corpus.teacher import Teacher, find_soundfont, fluidsynth_version
from synthnet.files import InputError, only_one, sha256
from synthnet.score.dynamics import add_dynamics
from synthnet.score.etudes import compose_etudes
from synthnet.score.general_midi import MidiInstrument
from synthnet.score.midi import midi_bytes, read_score, write_midi
from synthnet.score.notes import Note, Score
from synthnet.text import clock, counted

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

Report = Callable[[str], None]


@dataclass(frozen=True)
class _Source:
    """A score to be played, the split it belongs to, the SHA-256 of its MIDI file and the piece's name."""

    path: Path
    split: str
    checksum: str
    score: Score
    name: str


def build_corpus(
    folder: Path,
    instrument: MidiInstrument,
    scores: Sequence[Path],
    sample_rate_hz: int = 16_000,
    soundfont: Path | None = None,
    valid: Sequence[str] = (),
    report: Report = lambda line: None,
    etudes: Mapping[str, Score] | None = None,
    *,
    skip_bad: bool = False,
) -> Corpus:
    """Have the teacher play `scores` (MIDI files, or folders of them) on `instrument`, into the folder.

    `etudes`, scores by name, are pieces too; the corpus keeps their MIDI files. Pieces with one of the words `valid`
    (by default "prelude") in their file name, in any case, validate, the others train. The only piece of a corpus
    becomes two: its last fifth validates. Pieces in the folder that are still right are kept, those no longer among the
    scores are removed. `report` gets a line for each step and for everything in a score that the corpus does not hold.

    Raises InputError, before anything is written, when a score cannot be used (all are listed, a line each; with
    `skip_bad` they are reported and left out, as long as any can be used), when no piece is left to train on, or when
    the teacher cannot play; and when the folder cannot be written, or another process builds there.
    """
    folder = Path(folder)
    made = {folder / ETUDES / f"{name}.mid": score for name, score in (etudes or {}).items()}
    sources, errors = _read_sources(scores, made, valid)
    if not skip_bad:
        _raise_all(errors, len(sources) + len(errors))
    _check_split(sources, valid)
    soundfont = find_soundfont(soundfont)
    teacher = Teacher(soundfont, instrument.program, sample_rate_hz)
    teaching = (sample_rate_hz, soundfont.name, sha256(soundfont), fluidsynth_version())
    corpus = Corpus(folder, VERSION, instrument.name, instrument.program, *teaching, gain=1.0, pieces=())
    with alone(folder):
        try:
            before = read_corpus(folder)
        except InputError:
            before = corpus
        known: dict[str, Piece] = {}  # former pieces of the same source and teacher
        if replace(before, gain=1.0, pieces=()) == corpus:
            checksums = {name: source.checksum for name, source in sources.items()}
            known = {piece.name: piece for piece in before.pieces if piece.source_sha256 == checksums.get(piece.name)}
        for source in sources.values():
            _report_unheard(source, instrument, report)
        peaks = {name: piece.peak for name, piece in known.items()}
        for name, source in sources.items():
            if name not in known:
                peaks[name] = float(np.abs(_play(teacher, source)).max())
                report(f"{name}: level measured")
        silent = [name for name, peak in peaks.items() if peak == 0]
        errors += [f"{sources[name].path}: the sound font has no sound for its notes" for name in silent]
        if not skip_bad or len(silent) == len(sources):
            _raise_all(errors, len(sources) + len(errors) - len(silent))
        for name in silent:
            del sources[name], peaks[name]
        _check_split(sources, valid)
        for error in errors:
            report(f"left out: {error}")
        corpus = replace(corpus, gain=PEAK / max(peaks.values()))

        pieces = []
        _write_etudes(folder / ETUDES, sources.values(), made)
        for name, source in sources.items():
            piece = known.get(name)
            if piece is not None and before.gain == corpus.gain and _is_intact(corpus, piece):
                pieces.append(replace(piece, split=source.split, source=source.path.name))
                report(f"{name}: unchanged")
            else:
                pieces.append(_write_piece(corpus, teacher, source, peaks[name]))
                report(f"{name}: rendered, {clock(pieces[-1].n_samples / sample_rate_hz)}")
        corpus = replace(corpus, pieces=tuple(pieces))
        write_manifest(corpus)
        for piece in before.pieces:
            if piece.name not in sources:
                before.audio_path(piece).unlink(missing_ok=True)
                before.score_path(piece).unlink(missing_ok=True)
                report(f"{piece.name}: removed, its score is no longer given")
    if not corpus.split("valid"):
        report(f"no validation piece: none has {VALIDATION_PIECE!r} in its name")
    return corpus


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """`only_one`; InputError where the folder cannot be written."""
    try:
        with only_one(folder):
            yield
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error


def _read_sources(
    scores: Sequence[Path], made: Mapping[Path, Score], valid: Sequence[str]
) -> tuple[dict[str, _Source], list[str]]:
    """The scores and those `made` for the corpus, which are not files yet, by name and sorted by it.

    Also a line for every score that cannot be used; InputError if there is no other.
    """
    errors: list[str] = []
    paths: list[Path] = []
    for given in map(Path, scores):
        found = [given]
        if given.is_dir():
            inside = sorted(path for path in given.rglob("*") if not path.name.startswith("."))
            found = [path for path in inside if path.suffix.lower() in (".mid", ".midi")]
        if not found:
            errors.append(f"{given}: a folder without .mid or .midi files")
        paths += found
    paths = list({path.resolve(): path for path in [*paths, *made]}.values())
    words = _words(valid)
    sources: dict[str, _Source] = {}
    for path in paths:
        try:
            score = made[path] if path in made else read_score(path)
        except InputError as error:
            errors.append(str(error))
            continue
        if path.stem in sources:
            errors.append(f"{path}: has the same name as {sources[path.stem].path}")
            continue
        checksum = hashlib.sha256(midi_bytes(score)).hexdigest() if path in made else sha256(path)
        split = "valid" if any(word in path.name.lower() for word in words) else "train"
        sources[path.stem] = _Source(path, split, checksum, score, path.stem)
    if not sources:
        _raise_all(errors, max(len(paths), len(errors)))
        raise InputError("no scores given")
    if len(sources) == 1 and not valid:
        sources = {source.name: source for source in _parts(*sources.values())}
    return dict(sorted(sources.items())), errors


def _words(valid: Sequence[str]) -> list[str]:
    return [word.lower() for word in valid] or [VALIDATION_PIECE]


def _check_split(sources: Mapping[str, _Source], valid: Sequence[str]) -> None:
    """Raise InputError for a word of `valid` that stands in no name, and if nothing is left to train on."""
    for word in valid:
        if not any(word.lower() in source.path.name.lower() for source in sources.values()):
            raise InputError(f"{word}: no score has this in its name")
    if all(source.split == "valid" for source in sources.values()):
        named = " or ".join(map(repr, _words(valid)))
        raise InputError(f"no score is left to train on: all {len(sources)} have {named} in their names")


def last_fifth(notes: Sequence[Note]) -> int:
    """The number of the note, of two and more sorted by onset, with which about the last fifth of them begins.

    It comes after the longest rest of those that end at 70% to 90% of the music; without any, it is nearest to 80%.
    """
    starts_s, ends_s = np.array([(note.start_s, note.end_s) for note in notes]).T
    rests_s = starts_s[1:] - np.maximum.accumulate(ends_s)[:-1]
    away = np.abs((starts_s[1:] - starts_s[0]) / (ends_s.max() - starts_s[0]) - 0.8)
    rests_s = np.where(away <= 0.1, rests_s.round(6), -np.inf)
    return 1 + int(np.lexsort((-away, rests_s))[-1])


def _parts(source: _Source) -> list[_Source]:
    """A piece and, as another that validates, its `last_fifth`, cut in the middle of the rest; or the piece alone."""
    notes = source.score.notes
    if len(notes) < 2:
        return [source]
    number = last_fifth(notes)
    start_s = notes[number].start_s
    cut_s = (start_s + min(start_s, max(note.end_s for note in notes[:number]))) / 2
    if cut_s <= notes[0].start_s:
        return [source]
    parts = []
    for split, window in (("train", (0.0, cut_s)), ("valid", (cut_s, None))):
        score = source.score.excerpt(*window)
        checksum = hashlib.sha256(midi_bytes(score)).hexdigest()  # that of the file would be that of the whole piece
        name = source.name + ("" if split == "train" else "-end")
        parts.append(_Source(source.path, split, checksum, score, name))
    return parts


def _raise_all(errors: Sequence[str], n_scores: int) -> None:
    if errors:
        head = [f"{len(errors)} of {n_scores} scores cannot be used:"] if n_scores > 1 else []
        raise InputError("\n".join([*head, *errors]))


def _report_unheard(source: _Source, instrument: MidiInstrument, report: Report) -> None:
    """Report what of a score the corpus does not hold, or the instrument does not usually play."""
    if left_out := source.score.left_out_line(source.score.tracks):
        report(f"{source.path}: {left_out}")
    low, high = instrument.lowest_pitch, instrument.highest_pitch
    if n_outside := sum(not low <= note.pitch <= high for note in source.score.notes):
        outside = counted(n_outside, "note")
        report(f"{source.path}: {outside} outside the range of the {instrument.name}, {low} to {high}")


def _play(teacher: Teacher, source: _Source) -> np.ndarray:
    """The piece in the teacher's unit, with its tail: float32 [n_samples]."""
    notes = teacher.snap(source.score.notes)
    return teacher.play(notes, max(note.end_s for note in notes) + TAIL_S)


def _write_etudes(folder: Path, sources: Collection[_Source], made: Mapping[Path, Score]) -> None:
    """Write the MIDI files that were made, and remove former études that are no source now."""
    for source in sources:
        if source.path in made and not has_checksum(source.path, source.checksum):
            write_midi(source.score, source.path)
    used = {source.path.resolve() for source in sources}
    for path in folder.glob("etude_*.mid"):
        if path.resolve() not in used:
            path.unlink()
    with contextlib.suppress(OSError):  # there is none, or it holds something else
        folder.rmdir()


def _is_intact(corpus: Corpus, piece: Piece) -> bool:
    checksums = {corpus.audio_path(piece): piece.audio_sha256, corpus.score_path(piece): piece.score_sha256}
    return all(has_checksum(path, checksum) for path, checksum in checksums.items())


def _write_piece(corpus: Corpus, teacher: Teacher, source: _Source, peak: float) -> Piece:
    samples = _play(teacher, source) * np.float32(corpus.gain)
    piece = Piece(source.name, source.split, len(samples), peak, source.path.name, source.checksum, "", "")
    return write_piece(corpus, piece, samples, teacher.snap(source.score.notes))


def default_folder(name: str, sample_rate_hz: int, wide: bool) -> Path:
    """The folder of the default corpus of an instrument, as in data/corpora/trumpet-16000-narrow.

    `wide` stands for velocities from very soft to very loud, else they are 100, as in the training movements, or near.
    """
    return DEFAULT_CORPORA / f"{name}-{sample_rate_hz}-{'wide' if wide else 'narrow'}"


def default_corpus(
    instrument: MidiInstrument, sample_rate_hz: int, wide: bool, report: Report = lambda line: None
) -> Corpus:
    """The corpus of an instrument in its default folder, built from BWV 1007 if it is not there yet.

    With `wide` velocities, BWV 1007 is played with dynamics, and 24 minutes of études are added.
    """
    folder = default_folder(instrument.name, sample_rate_hz, wide)
    if (folder / "manifest.json").exists():
        return read_corpus(folder)
    sources = "Bach's Cello Suite no. 1" + (" and études" if wide else "")
    report(f"{folder}: building the {instrument.name} corpus from {sources}")
    if not wide:
        return build_corpus(folder, instrument, [DEFAULT_SCORES], sample_rate_hz, report=report)
    return build_corpus(folder, instrument, [], sample_rate_hz, report=report, etudes=wide_music(instrument))


def wide_music(instrument: MidiInstrument, minutes: float = WIDE_MINUTES) -> dict[str, Score]:
    """Études of wide velocities, together `minutes` long, and BWV 1007 with dynamics, by name."""
    made = compose_etudes(instrument, minutes, wide=True)
    for seed, path in enumerate(sorted(DEFAULT_SCORES.glob("*.mid"))):
        made[path.stem] = add_dynamics(read_score(path), seed)
    return made
