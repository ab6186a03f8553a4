"""SynthNet in Python: load an instrument and play a score, render a song, train an instrument.

>>> import synthnet
>>> from synthnet.score.notes import Note, Score, Track
>>> score = Score((Track((Note(pitch=60, velocity=100, start_s=0.0, end_s=0.5),)),))
>>> audio = synthnet.load("trumpet").play(score, sample_rate_hz=16_000)
>>> audio.samples.shape[1], audio.samples.dtype, audio.sample_rate_hz
(2, dtype('float32'), 16000)
>>> audio.save("note.wav")                                                            # doctest: +SKIP
>>> synthnet.render("song.mid", "song.flac", instrument="0=violin,1=cello").gain      # doctest: +SKIP
1.0
>>> synthnet.Instrument.train("trumpet", minutes=10).play("song.mid").save("mine.wav")  # doctest: +SKIP

All functions raise `synthnet.files.InputError`, a ValueError of one line, when a file or a value cannot be used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from synthnet.audio.files import Audio
from synthnet.files import InputError
from synthnet.generation.library import DEFAULT_RUNS, Library, Seat, read_file, read_library
from synthnet.generation.render import MIX_RATE_HZ, Rendering, Settings, read_song, render_in_memory, render_score
from synthnet.generation.soundfont import soundfont_for
from synthnet.score import midi
from synthnet.score.notes import Score


@dataclass(frozen=True)
class Instrument:
    """An instrument that plays scores, such as "trumpet"; made by `load` and `Instrument.train`."""

    name: str
    seat: Seat = field(repr=False)

    def play(
        self,
        song: str | Path | Score,
        *,
        seed: int = 0,
        sample_rate_hz: int = MIX_RATE_HZ,
        start_s: float = 0.0,
        duration_s: float | None = None,
        mono: bool = False,
    ) -> Audio:
        """All tracks of a MIDI file or a score but drums, played by this instrument: float32, full scale +-1.

        The samples are [n, 2], left and right, or [n] if `mono`. The same seed gives the same audio. A mix that would
        clip is turned down to a true peak of -1 dBFS.

        Args:
            start_s: second of the song to start from.
            duration_s: seconds to play; None: until the last note has died away.
        """
        score = read_song(song, start_s, duration_s)
        settings = Settings(sample_rate_hz, duration_s, seed, start_s=start_s, mono=mono)
        return render_in_memory([self.seat] * len(score.tracks), score, settings)

    @classmethod
    def train(
        cls,
        name: str,
        minutes: float = 10.0,
        *,
        folder: str | Path | None = None,
        corpus: str | Path | None = None,
        report: Callable[[str], None] = lambda line: None,
    ) -> Instrument:
        """Train a harmonic instrument on the processor, as `synthnet train` does; shows a progress bar.

        Args:
            name: of an instrument that `synthnet train --help` lists, or of the corpus.
            folder: of the run; default: runs/NAME-harmonic. It must not hold a run yet.
            corpus: folder of a corpus, for an instrument of one's own; default: built by FluidSynth on first use.
            report: gets a line for each step.
        """
        import torch

        from synthnet.corpus.build import default_corpus
        from synthnet.corpus.corpus import read_corpus
        from synthnet.models.config import HARMONIC_RATE_HZ
        from synthnet.score.general_midi import find_instrument
        from synthnet.training.run import train_run
        from synthnet.training.settings import Span, plan_run

        if corpus is None:
            learned = default_corpus(find_instrument(name), HARMONIC_RATE_HZ, True, report)
        elif (learned := read_corpus(Path(corpus))).instrument != name:
            raise InputError(f"{corpus}: a corpus of {learned.instrument}, not of {name}")
        run = DEFAULT_RUNS / f"{learned.instrument}-harmonic" if folder is None else Path(folder)
        plan, device = plan_run([learned], "harmonic", None, {}, Span(minutes=minutes)), torch.device("cpu")
        train_run(run, [learned], plan.config, plan.training, plan.span, device=device, say=report)
        return load(run / "best.safetensors")


def load(instrument: str | Path) -> Instrument:
    """An instrument by a name that `synthnet instruments` lists, or the first one of a FILE.safetensors.

    Your newest network of that name, in runs/ of the current folder, comes before the shipped one.
    """
    library, name = _library_and_name(instrument)
    seat = library.seat(library.players[0].name if name is None else name)
    return Instrument(seat.voice.name, seat)


def render(
    song: str | Path | Score,
    out: str | Path,
    *,
    instrument: str | Path | None = None,
    seed: int = 0,
    sample_rate_hz: int = MIX_RATE_HZ,
    start_s: float = 0.0,
    duration_s: float | None = None,
    stems: str | Path | None = None,
    bits: int | str = 16,
    mono: bool = False,
    lufs: float | None = None,
    programs: Mapping[int, str] | None = None,
    drums: bool = True,
    force: bool = False,
) -> Rendering:
    """Play a MIDI file or a score into a WAV, FLAC, Ogg, Opus or MP3 file (by the ending), as `synthnet render` does.

    Args:
        instrument: who plays, as `synthnet render --instrument`: "flute" for all tracks, "0=cello,1=trumpet" for
            numbered ones, or a FILE.safetensors; default: each track by its General MIDI program.
        start_s, duration_s: as for `Instrument.play`.
        stems: a folder in which to keep each track alone.
        bits: 16 or 24, dithered, or "float".
        mono: one channel; else two.
        lufs: integrated loudness to bring the mix to, as far as a true peak of -1 dBFS allows; None: as it is.
        programs: instruments by General MIDI program, as {33: "cello"}, for tracks that `instrument` leaves open.
        drums: whether a sound font, if one is installed, plays drums, and percussion and effects that no instrument
            here plays.
        force: whether to overwrite files that SynthNet did not make.
    """
    score = read_song(song, start_s, duration_s)
    library, spec = _library_and_name(instrument)
    seats = library.assign(score, spec, None, programs, soundfont_for(score)[0] if drums else None)
    settings = Settings(sample_rate_hz, duration_s, seed, start_s=start_s, mono=mono)
    folder, source = (None if path is None or isinstance(path, Score) else Path(path) for path in (stems, song))
    return render_score(
        seats, score, Path(out), settings, stems=folder, bits=bits, lufs=lufs, source=source, force=force
    )


def read_score(path: str | Path) -> Score:
    """The notes of a MIDI file, in seconds; raises InputError if there are none."""
    return midi.read_score(Path(path))


def _library_and_name(instrument: str | Path | None) -> tuple[Library, str | None]:
    """The instruments of a FILE.safetensors, or all, and the one that is named among them."""
    if instrument is not None and Path(instrument).suffix == ".safetensors":
        return read_file(Path(instrument)), None
    return read_library(), None if instrument is None else str(instrument)
