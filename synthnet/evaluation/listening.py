"""A listening test as a static web page: sounds under random names, and the key that says who made which.

`build` renders the beginning of each piece by the teacher and by each model, brings all to one loudness, and writes

    FOLDER/page/       index.html and the sounds: what a web host serves
    FOLDER/key.json    who made which sound and its RMSE-CQT: kept away from the listeners

In the rating test a listener hears the reference, then rates all samples of the piece on the five-point scale of
ITU-R P.800, as in the paper's Table 5. The hidden reference and the low anchor, a low-pass at 3.5 kHz, follow ITU-R
BS.1534-3. In the ABX test the listener says whether X is A, the teacher, or B, the model.
"""

from __future__ import annotations

import functools
import json
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import firwin, oaconvolve

from synthnet import __version__
from synthnet.audio.files import read_audio, write_audio
from synthnet.audio.meters import Loudness, TruePeak
from synthnet.corpus.teacher import Teacher, find_soundfont
from synthnet.evaluation.cqt import rmse_cqt_at_floors
from synthnet.evaluation.level import faded_out
from synthnet.evaluation.systems import playing_path
from synthnet.files import InputError
from synthnet.generation.library import Seat, read_file, read_library
from synthnet.generation.render import MIX_RATE_HZ, Settings, read_song, render_in_memory
from synthnet.score.general_midi import INSTRUMENT_NAME, known_instrument, plain_name
from synthnet.score.notes import Score, Track

TEMPLATE = Path(__file__).parent / "listening.html"
PLACE = "{{TEST}}"  # of the test in the template
RATING, ABX = "rating", "abx"
REFERENCE, ANCHOR = "reference", "anchor"  # the models' names of both in a key
SHIPPED = "shipped"  # in place of an instrument: all that ship
LUFS, HIGHEST_PEAK = -23.0, 10 ** (-1 / 20)  # of all sounds; the true peak comes first
ANCHOR_HZ, ANCHOR_TAPS = 3_500.0, 1_023
FADE_S = 0.02  # at the end, where music is cut off

Play = Callable[[str, Score], np.ndarray]
"""The name of a piece and its score to samples [n], about as long as the test's sounds."""


@dataclass(frozen=True)
class Design:
    """What a listening test asks.

    Attributes:
        abx: ABX in place of ratings.
        seconds: of the beginning of each piece.
        hidden_reference, anchor: among the samples to rate.
        post_url: where the page sends the answers; "": the listener saves a file.
        seed: of the models' random numbers.
    """

    abx: bool = False
    seconds: float = 5.0
    hidden_reference: bool = False
    anchor: bool = False
    post_url: str = ""
    seed: int = 0


def models_of(models: Sequence[tuple[str, str]], design: Design) -> dict[str, dict[str, Play]]:
    """Who plays each instrument, by instrument and model, from pairs of a model's name and an instrument or file.

    An instrument is a name of the library, FILE.safetensors with all that it learned, or "shipped". trumpet-synthnet
    plays the trumpet. Raises InputError for an unknown one, and for two of one model for one instrument.
    """
    players: dict[str, dict[str, Play]] = {}
    for model, text in models:
        if text.endswith(".safetensors"):
            library = read_file(Path(text))
            names = [player.name for player in library.players]
        else:
            library = read_library()
            shipped = [player.name for player in library.players if player.shipped]
            names = [name for name in shipped if plain_name(name) == name] if text == SHIPPED else [text]
        for seat in map(library.seat, names):
            of_instrument = players.setdefault(plain_name(seat.voice.name), {})
            if model in of_instrument:
                raise InputError(f"--model {model}: two of this name play the {plain_name(seat.voice.name)}")
            of_instrument[model] = functools.partial(_play_seat, seat, design)
    return players


def _play_seat(seat: Seat, design: Design, piece: str, score: Score) -> np.ndarray:
    settings = Settings(duration_s=design.seconds, seed=design.seed, mono=True)
    return render_in_memory([seat], score, settings).samples


def audio_of(folder: Path) -> dict[str, Play]:
    """Who plays each instrument: recordings of another program, INSTRUMENT/PIECE.wav (or .flac, .ogg) in a folder."""
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder")
    places = sorted(place for place in folder.iterdir() if place.is_dir())
    if not places:
        raise InputError(f"{folder}: no folder INSTRUMENT with sounds PIECE.wav in it")
    return {place.name: functools.partial(_read_sound, place) for place in places}


def _read_sound(place: Path, piece: str, score: Score) -> np.ndarray:
    return read_audio(playing_path(place, piece), MIX_RATE_HZ).samples


def build(
    folder: Path,
    pieces: Sequence[Path],
    players: Mapping[str, Mapping[str, Play]],
    design: Design,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Write a test of these pieces into a folder that is new or empty, and return its key.

    Args:
        players: by instrument and model, as from `models_of` and `audio_of`.

    Raises:
        InputError: a piece, a sound or the folder cannot be used.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: there already; a listening test wants a new folder")
    scores = {piece.stem: _solo(piece, design.seconds) for piece in pieces}
    if len(scores) < len(pieces):
        raise InputError(f"{pieces[0]}: two pieces have one name")
    soundfont = find_soundfont()
    teachers = {name: Teacher(soundfont, _program(name), MIX_RATE_HZ) for name in players}
    folder.parent.mkdir(parents=True, exist_ok=True)
    trials, key = [], dict[str, Any]()
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as beside:
        draft = Path(beside) / folder.name
        (draft / "page").mkdir(parents=True)
        places = [(name, piece) for name in players for piece in scores]
        for number, (name, piece) in enumerate(places, 1):
            say(f"{number} of {len(places)}: {piece}, {name}: {', '.join(players[name])}")
            sounds = {REFERENCE: teachers[name].play(scores[piece].notes, design.seconds)}
            sounds |= {model: play(piece, scores[piece]) for model, play in players[name].items()}
            distances = {model: _distance(sounds[REFERENCE], sounds[model]) for model in players[name]}
            for trial, of_trial in _trials(sounds, design, f"{piece}, {name}"):
                trial_id = secrets.token_hex(6)
                for sound_id, (_, samples) in sorted(of_trial.items()):  # so that times of files tell nothing
                    write_audio(draft / "page" / f"{sound_id}.flac", samples, MIX_RATE_HZ)
                trials.append({"id": trial_id, **trial})
                about = {i: {"model": model, **distances.get(model, {})} for i, (model, _) in of_trial.items()}
                key[trial_id] = {"piece": piece, "instrument": name, "sounds": about, **trial}
        trials.sort(key=lambda trial: str(trial["id"]))
        test = {"test": secrets.token_hex(6), "kind": ABX if design.abx else RATING, "post": design.post_url}
        whole = {**test, "seconds": design.seconds, "trials": trials}
        as_text = json.dumps(whole).replace("<", "\\u003c")  # it stands in a script element
        (draft / "page" / "index.html").write_text(TEMPLATE.read_text("utf-8").replace(PLACE, as_text), "utf-8")
        made = {"synthnet": __version__, "soundfont": soundfont.name, "lufs": LUFS, "seconds": design.seconds}
        (draft / "key.json").write_text(json.dumps({**test, **made, "trials": key}, indent=1), "utf-8")
        os.replace(draft, folder)
    return key


def _solo(piece: Path, seconds: float) -> Score:
    """The pitched notes of a piece's beginning as one part, without controllers: the teacher plays them so, too."""
    score = read_song(piece, 0.0, seconds)
    if not (notes := score.excerpt(0.0, seconds).notes):
        raise InputError(f"{piece}: no pitched notes in its first {seconds:g} s")
    return Score((Track(notes),))


def _program(name: str) -> int:
    """The General MIDI program by which the teacher plays an instrument."""
    found = known_instrument(name) or read_library().find(name)
    if found is None or found.program is None:
        raise InputError(f"{name}: no instrument that a teacher could play")
    return found.program


def _trials(
    sounds: Mapping[str, np.ndarray], design: Design, place: str
) -> list[tuple[dict[str, Any], dict[str, tuple[str, np.ndarray]]]]:
    """The pages about the sounds of a place: what is asked, and model and samples of each sound, by its id."""
    everything = dict(sounds) | ({ANCHOR: low_pass(sounds[REFERENCE])} if design.anchor else {})
    at_one = matched(everything, round(design.seconds * MIX_RATE_HZ), place)
    models = [model for model in sounds if model != REFERENCE]

    def named(*makers: str) -> dict[str, tuple[str, np.ndarray]]:
        return {secrets.token_hex(6): (model, at_one[model]) for model in makers}

    if design.abx:
        pages = []
        for model in models:
            shown, x = named(REFERENCE, model), named(REFERENCE, model)
            a, b = shown
            pages.append(({"a": a, "b": b, "x": sorted(x)}, shown | x))  # sorted by chance: ids are random
        return pages
    models += [REFERENCE] * design.hidden_reference + [ANCHOR] * design.anchor
    reference, samples = named(REFERENCE), named(*models)
    return [({"reference": next(iter(reference)), "samples": sorted(samples)}, reference | samples)]


def matched(sounds: Mapping[str, np.ndarray], n_samples: int, place: str = "") -> dict[str, np.ndarray]:
    """Sounds [n], by name, cut or extended to one length, faded at the end, at one loudness (ITU-R BS.1770-4).

    It is -23 LUFS, or lower for all where a true peak would exceed -1 dBFS. InputError for a silent one.
    """
    at_one, peaks = {}, []
    for name, sound in sounds.items():
        cut = np.zeros(n_samples, np.float32)
        cut[: len(sound)] = sound[:n_samples]
        cut = faded_out(cut, round(FADE_S * MIX_RATE_HZ))
        loudness, peak = Loudness(MIX_RATE_HZ, 1), TruePeak(MIX_RATE_HZ, 1)
        loudness.add(cut[:, None])
        if not np.isfinite(lufs := loudness.read()):
            raise InputError(f"{place}: the sound of {name} is silent")
        at_one[name] = cut * np.float32(10 ** ((LUFS - lufs) / 20))
        peak.add(at_one[name][:, None])
        peaks.append(peak.read())
    gain = np.float32(min(1.0, HIGHEST_PEAK / max(peaks)))
    return {name: sound * gain for name, sound in at_one.items()}


def low_pass(samples: np.ndarray) -> np.ndarray:
    """The low anchor of samples [n]: nothing above 3.5 kHz, without delay."""
    taps = firwin(ANCHOR_TAPS, ANCHOR_HZ, fs=MIX_RATE_HZ)
    return oaconvolve(samples, taps, "same").astype(np.float32)


def _distance(reference: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """RMSE-CQT of a sound at both floors, at the loudness of the reference."""
    theirs, mine = matched({"reference": reference, "test": test}, len(reference)).values()
    at_80, at_50 = rmse_cqt_at_floors(theirs, mine, MIX_RATE_HZ).mean(axis=1).tolist()
    return {"rmse_cqt_db": at_80, "rmse_cqt_50_db": at_50}


def check_name(name: str) -> str:
    """The name of a model; InputError where it is none, or means something else here."""
    if not re.fullmatch(INSTRUMENT_NAME, name) or name in (REFERENCE, ANCHOR):
        raise InputError(f"{name!r} can't name a model: letters, digits, _ and -, but not {REFERENCE} or {ANCHOR}")
    return name
