"""Who plays which track: the instruments that ship with the package, those trained here, in a folder of runs, and
a sound font for drums and for the percussion and effects that no instrument here can stand for.

A shipped instrument is a file NAME.safetensors in `synthnet/shipped`, with its model card NAME.md beside it; one file
may hold several. A run is represented by `best.safetensors`, else `last.safetensors`. By a track's General MIDI program
shipped instruments come first, since a network may have been trained for a minute only; by its name the newest own one
comes first. An instrument with a qualified name, such as trumpet-synthnet, never plays by its program alone.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from synthnet.files import InputError
from synthnet.models.checkpoint import (
    Checkpoint,
    CheckpointHeader,
    Voice,
    credit_of,
    fact,
    load_checkpoint,
    peek_checkpoint,
)
from synthnet.score.general_midi import (
    KNOWN_INSTRUMENTS,
    UNPITCHED,
    family_of,
    known_instrument,
    plain_name,
    program_name,
)
from synthnet.score.notes import Score

SHIPPED = Path(__file__).parent.parent / "shipped"
DEFAULT_RUNS = Path("runs")  # in the current folder
NETWORKS_OF_A_RUN = ("best.safetensors", "last.safetensors")  # the first that exists counts
NEAREST = "shipped"  # in place of a name: the shipped instrument nearest to a program
FALLBACK = "piano"  # plays the programs of families without an instrument
LARGEST_WEIGHT = 10.0  # in a mixture; networks are trained on weights of 1, so more than this is a slip


@dataclass(frozen=True)
class Seat:
    """Who plays a track: a network and one of its instruments; `where` it was found."""

    checkpoint: Checkpoint
    voice: Voice
    where: str = ""

    @property
    def kind(self) -> str:
        """The kind of model."""
        return self.checkpoint.config.kind

    @property
    def level(self) -> float:
        """Factor that brings the instrument's output to the level of its teacher: the corpus's gain is divided out."""
        names = self.checkpoint.instruments
        number = names.index(self.voice.name) if self.voice.name in names else 0
        gain = fact(self.checkpoint.training, "corpora", number, "gain")
        return 1.0 / gain if isinstance(gain, int | float) and gain > 0 else 1.0

    @property
    def credit(self) -> str:
        """The players and licences of its recordings, "" if there are none."""
        return credit_of(self.checkpoint)

    @property
    def velocity(self) -> bool:
        """Whether it plays velocities."""
        return self.checkpoint.config.velocity

    @property
    def keys(self) -> tuple[int, int]:
        """The lowest and the highest MIDI key that it heard, of a harmonic instrument; else all of them."""
        nearest = self.checkpoint.weights.get("nearest")
        return (0, 127) if nearest is None else (int(nearest.min()), int(nearest.max()))

    def release_s(self, pitch: int) -> float:
        """Seconds in which a note of this MIDI key dies away, 0 if unknown."""
        seconds = self.checkpoint.weights.get("release_s")  # of a harmonic instrument, by key
        return 0.0 if seconds is None else float(seconds[pitch])


@dataclass(frozen=True)
class FontSeat:
    """A sound font plays a track."""

    soundfont: Path
    voice: Voice
    checkpoint: ClassVar[None] = None
    kind: ClassVar[str] = "soundfont"
    credit: ClassVar[str] = ""
    level: ClassVar[float] = 1.0
    keys: ClassVar[tuple[int, int]] = (0, 127)
    velocity: ClassVar[bool] = True

    @property
    def where(self) -> str:
        """The font's file."""
        return str(self.soundfont)

    def release_s(self, pitch: int) -> float:
        """Seconds after a note: a cymbal has lost 40 dB then."""
        return 2.0


def font_seat(soundfont: Path | None, what: str) -> FontSeat | None:
    """The seat of what no instrument plays; None without a sound font."""
    voice = Voice("sound font", None, f"as no instrument here plays {what}")
    return None if soundfont is None else FontSeat(soundfont, voice)


Seats = Sequence[Seat | FontSeat | None]
"""Who plays each of the first parts of a score, `Score.parts`; None, or a part beyond them: nobody."""


@dataclass(frozen=True)
class Player:
    """An instrument that can be played; None is unknown.

    Attributes:
        program: General MIDI, 0 to 127.
        lowest_pitch, highest_pitch: MIDI keys: the range of an instrument that is known by name, of others the keys
            that it was trained on.
        rmse_cqt_db, rmse_cqt_50_db: of its mean output, against the clean teacher; floors at -80 and at -50 dB.
        evaluated: whether they were measured after training; else it is from the few seconds of the validation
            while training, the mean over all instruments of the network.
        header: of the file; its weights are unread.
    """

    name: str
    program: int | None
    lowest_pitch: int | None
    highest_pitch: int | None
    sample_rate_hz: int
    rmse_cqt_db: float | None
    rmse_cqt_50_db: float | None
    evaluated: bool
    shipped: bool
    path: Path
    header: CheckpointHeader = field(repr=False, compare=False)

    @property
    def where(self) -> str:
        """Its place, for a person."""
        return "shipped" if self.shipped else str(self.path)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        more = {"path": str(self.path), "kind": self.header.config.model, "bytes": self.path.stat().st_size}
        more["licence"] = credit_of(self.header) or ("MIT" if self.shipped else None)
        return {name: value for name, value in vars(self).items() if name != "header"} | more


@dataclass(frozen=True)
class Library:
    """The instruments that can be played.

    Attributes:
        players: the shipped ones first, by file name; then one's own, the newest first.
        errors: a line for each file that cannot be played.
        any_name: whether instruments with qualified names play by their programs, too.
    """

    players: tuple[Player, ...]
    errors: tuple[str, ...] = ()
    any_name: bool = False

    def assign(
        self,
        score: Score,
        spec: str | None = None,
        kind: str | None = None,
        programs: Mapping[int, str] | None = None,
        soundfont: Path | None = None,
    ) -> list[Seat | FontSeat | None]:
        """Who plays each part of the score, in order; tracks of one file share one checkpoint.

        Args:
            spec: `flute` for all tracks; `0=cello,1=trumpet` for numbered tracks, counted from 0, while the others go
                by their programs; None: all go by their programs. A mixture may stand for an instrument:
                `cello:0.5+trumpet:0.5`, each instrument embedding times its weight. Weights are above 0, up to 10, and
                are not normalised.
            kind: "harmonic", "synthnet" or another model, which plays the programs that it has an instrument for.
            programs: instruments or mixtures by General MIDI program, for tracks that `spec` does not name.
            soundfont: plays drums, and percussion and effects without an instrument of their program; None: nobody.

        Raises:
            InputError: no such instrument or track, a malformed spec or mixture, or nobody who can play.
        """
        by_program = {program: self._by_name(text) for program, text in (programs or {}).items()}
        load, seats = functools.cache(load_checkpoint), list[Seat | FontSeat | None]()
        for track, text in zip(score.tracks, self._asked_by_track(spec, len(score.tracks)), strict=True):
            if text is None:
                found = by_program.get(track.program) or self._by_program(track.program, kind)
            else:
                found = self._by_name(text)
            what = f"program {track.program}, {program_name(track.program)}"
            seats.append(Seat(load(found[0].path), found[1], found[0].where) if found else font_seat(soundfont, what))
        return seats + [font_seat(soundfont, "drums")] * len(score.drums)

    def seat(self, text: str) -> Seat:
        """The instrument of a name, or a mixture; raises as `assign`."""
        player, voice = self._by_name(text)
        return Seat(load_checkpoint(player.path), voice, player.where)

    def find(self, text: str) -> Player | None:
        """The instrument of this name, in upper or lower case, or code: the newest own one, else the shipped one."""
        return next((player for players in self._files() if (player := _find(text, players))), None)

    def named(self, text: str) -> Player:
        """As `find`; InputError if there is none."""
        if player := self.find(text):
            return player
        names = ", ".join(dict.fromkeys(player.name for player in self.players)) or "none at all"
        problem = f"no instrument {text!r}" if text.strip() else "an instrument's name is missing"
        raise InputError(f"{problem}; there are: {names} (see synthnet instruments)")

    def nearest(self, program: int, kind: str | None = None) -> tuple[Player, str]:
        """The instrument nearest to a General MIDI program, 0 to 127, and why.

        One of the program, of this kind if there is one, shipped ones first; else a shipped one of the same family,
        the nearest below the program before those above, since General MIDI lists an instrument before its variants;
        else the piano, else the first. One's own play other programs than theirs only where nothing is shipped.

        Raises:
            InputError: there is none.
        """

        def rank(player: Player) -> tuple[int, ...]:
            other_program, other_kind = player.program != program, player.header.config.model != kind
            other_family = player.program is None or family_of(player.program) != family_of(program)
            last_resort = other_family and player.name != FALLBACK
            above = 0 if other_family else (player.program or 0) - program
            near = (above > 0, abs(above))
            return other_program or other_kind, other_program, not player.shipped, other_family, last_resort, *near

        plain = [player for player in self.players if self.any_name or plain_name(player.name) == player.name]
        players = plain + [player for player in self.players if not rank(player)[0]]
        if not players:
            qualified = ", ".join(dict.fromkeys(player.name for player in self.players))
            asked = f"ask for one by name (--instrument: {qualified}), or " if qualified else ""
            raise InputError(
                f"no instrument plays by its program yet; {asked}make one: synthnet train --instrument trumpet"
            )
        player = min(players, key=rank)
        not_of_kind, other_program, _, other_family, *_ = rank(player)
        if not other_program:
            return player, f"its program {program}" if not_of_kind else f"the {kind} network of program {program}"
        about = f"program {program}, {program_name(program)}"
        return player, f"as no instrument of its family ({about}) is here" if other_family else f"nearest to {about}"

    def programs(self) -> dict[Player, list[int]]:
        """The General MIDI programs that go to each instrument unless asked otherwise."""
        played: dict[Player, list[int]] = {}
        for program in range(128) if self.players else ():
            if found := self._by_program(program):
                played.setdefault(found[0], []).append(program)
        return played

    def starting_point(self, text: str, program: int) -> tuple[Path, str | None]:
        """The file that a training starts from, and the instrument in it; None: all that are in it.

        Args:
            text: "shipped", the shipped instrument nearest to the program; FILE.safetensors; or a name, see `find`.

        Raises:
            InputError: there is none.
        """
        if text.endswith(".safetensors"):
            return Path(text), None
        shipped = Library(tuple(player for player in self.players if player.shipped))
        player = shipped.nearest(program)[0] if text == NEAREST else self.named(text)
        return player.path, player.name

    def _files(self) -> list[list[Player]]:
        """The instruments of each file, in the order in which names are looked up."""
        own_first = sorted(self.players, key=lambda player: player.shipped)
        return [list(players) for _, players in groupby(own_first, key=lambda player: player.path)]

    def _asked_by_track(self, spec: str | None, n_tracks: int) -> list[str | None]:
        """The instrument or mixture that a spec (see `assign`) names for each track; None: it names none."""
        # An instrument of one's own may have any name, even one with a comma.
        if spec is None or self.find(spec) or not set(",=") & set(spec):
            return [spec] * n_tracks
        numbers, asked = [str(number) for number in range(n_tracks)], dict[str, str]()
        for item in spec.split(","):
            number, equals, who = (part.strip() for part in item.partition("="))
            if not equals:
                form = "the form is 0=cello,1=trumpet, or one for all tracks"
                raise InputError(f"{spec!r}: {item.strip()!r} has no track number; {form}")
            if number not in numbers:
                there_are = "is 1 track, number 0" if n_tracks == 1 else f"are {n_tracks} tracks, 0 to {n_tracks - 1}"
                raise InputError(f"{spec!r}: no track {number!r}; there {there_are}")
            if number in asked:
                raise InputError(f"{spec!r}: track {number} is named twice; once is right")
            asked[number] = who
        return [asked.get(number) for number in numbers]

    def _by_program(self, program: int, kind: str | None = None) -> tuple[Player, Voice] | None:
        """The instrument that plays a program unless asked otherwise; None: no pitched one can stand for it."""
        player, why = self.nearest(program, kind)
        if program in UNPITCHED and player.program != program and not self.any_name:
            return None
        return player, replace(player.header.voice(player.name), why=why)

    def _by_name(self, text: str) -> tuple[Player, Voice]:
        """An instrument, or a mixture within one network, whose first instrument then stands for its file."""
        if self.find(text) is not None or not set(":+") & set(text):
            player = self.named(text)
            return player, replace(player.header.voice(player.name), why="as asked")
        mixture = _mixture_weights(text)
        names = [self.named(who).name for who, _ in mixture]
        for players in self._files():
            parts = [(one, weight) for who, weight in mixture if (one := _find(who, players))]
            if len(players) > 1 and len(parts) == len(mixture):
                style = np.zeros(len(players))
                for one, weight in parts:
                    style[players.index(one)] += weight
                name = "+".join(f"{one.name}:{weight:g}" for one, weight in parts)
                return parts[0][0], Voice(name, style, "as asked")
        together = " and ".join(dict.fromkeys(names))
        raise InputError(f"{text!r}: a mixture is made within one network of several; none here learned {together}")


def read_library(runs: Path = DEFAULT_RUNS, shipped: Path = SHIPPED) -> Library:
    """The instruments of both folders, either of which may be missing."""
    found = [path for name in reversed(NETWORKS_OF_A_RUN) for path in runs.glob(f"*/{name}")]
    of_runs = {path.parent: path for path in found}  # the best comes last and counts
    newest = sorted(of_runs.values(), key=lambda path: path.stat().st_mtime, reverse=True)
    players: list[Player] = []
    errors = []
    for path in (*sorted(shipped.glob("*.safetensors")), *newest):
        try:
            players += _players(path, path.parent == shipped)
        except InputError as error:
            errors.append(str(error))
    return Library(tuple(players), tuple(errors))


def read_file(path: Path) -> Library:
    """The instruments of one file, all of which play by their programs; raises as `peek_checkpoint`."""
    return Library(tuple(_players(path, shipped=False)), any_name=True)


def _players(path: Path, shipped: bool) -> list[Player]:
    """The instruments of a file, in the order of its network."""
    header, players = peek_checkpoint(path), []
    ranges = {who.name: (who.lowest_pitch, who.highest_pitch) for who in KNOWN_INSTRUMENTS}
    for number, (name, program) in enumerate(zip(header.instruments, header.programs, strict=True)):
        trained = [fact(header.training, "ranges", number, end) for end in ("lowest_pitch", "highest_pitch")]
        lowest, highest = ranges.get(name, [key if isinstance(key, int) else None for key in trained])
        reached, rate = _rmse_cqt_db(header.figures, name), header.sample_rate_hz
        players.append(Player(name, program, lowest, highest, rate, *reached, shipped, path, header))
    return players


def _find(text: str, players: Sequence[Player]) -> Player | None:
    """The instrument of a file with this name, else this name in lower case, else this code."""
    text = text.strip()
    known = known_instrument(text)

    def equals(player: Player) -> tuple[bool, bool, bool]:
        same_name = player.name.lower() == text.lower()
        return player.name == text, same_name, known is not None and player.name == known.name

    best = max(players, key=equals)
    return best if any(equals(best)) else None


def _rmse_cqt_db(figures: Mapping[str, Any], name: str) -> tuple[float | None, float | None, bool]:
    """RMSE-CQT of an instrument's mean output at both floors, and whether it was measured after training.

    That of whole pieces comes first, then of separate seconds, of the Prelude or the recording held out, and of the
    validation while training.
    """
    evaluation, measured = fact(figures, "evaluations", name), fact(figures, "measured", name, "network")
    pieces = fact(evaluation, "pieces")
    sources = [
        [fact(piece, "expectation") for piece in pieces] if isinstance(pieces, list) else [],
        *([found] for found in (evaluation, fact(measured, "prelude"), fact(measured, "held_out"))),
        [fact(figures, "validation")],
    ]
    for number, found in enumerate(sources):
        at_80, at_50 = _mean_rmse_db(found, ""), _mean_rmse_db(found, "_50")
        if at_80 is not None:
            return at_80, at_50, number < len(sources) - 1
    return None, None, False


def _mean_rmse_db(found: Sequence[Any], floor: str) -> float | None:
    """The mean of the figures at a floor that are there; those of the mean output, where they are named so."""
    values = [fact(one, f"rmse_cqt_expectation{floor}_db") or fact(one, f"rmse_cqt{floor}_db") for one in found]
    numbers = [value for value in values if isinstance(value, float)]
    return sum(numbers) / len(numbers) if numbers else None


def _mixture_weights(text: str) -> list[tuple[str, float]]:
    """Names and weights of `cello:0.5+trumpet:0.5`; InputError for a name or a weight that is missing or wrong."""
    parts = []
    for part in text.split("+"):
        who, _, written = (piece.strip() for piece in part.rpartition(":"))
        try:
            weight = float(written)
        except ValueError:
            weight = 0.0
        if not who or not 0.0 < weight <= LARGEST_WEIGHT:
            form = f"NAME:WEIGHT, with a weight above 0, up to {LARGEST_WEIGHT:g}; as in cello:0.5+trumpet:0.5"
            raise InputError(f"{text!r}: {part.strip()!r} is not {form}")
        parts.append((who, weight))
    return parts
