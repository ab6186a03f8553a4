"""Who plays which track: the instruments that ship with the package, and those trained here, in a folder of runs.

A shipped instrument is a file NAME.safetensors in `synthnet/shipped`, with its model card NAME.md beside it; one file
may hold several. A run is represented by `best.safetensors`, else `last.safetensors`. By a track's General MIDI program
shipped instruments come first, since a network may have been trained for a minute only; by its name the newest own one
comes first. An instrument with a qualified name, such as trumpet-synthnet, never plays by its program alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from synthnet.files import InputError
from synthnet.models.checkpoint import Checkpoint, CheckpointHeader, Voice, fact, load_checkpoint, peek_checkpoint
from synthnet.score.general_midi import KNOWN_INSTRUMENTS, family_of, known_instrument, plain_name, program_name
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
    def level(self) -> float:
        """Factor that brings the instrument's output to the level of its teacher: the corpus's gain is divided out."""
        names = self.checkpoint.instruments
        number = names.index(self.voice.name) if self.voice.name in names else 0
        gain = fact(self.checkpoint.training, "corpora", number, "gain")
        return 1.0 / gain if isinstance(gain, int | float) and gain > 0 else 1.0


@dataclass(frozen=True)
class Player:
    """An instrument that can be played; None is unknown.

    Attributes:
        program: General MIDI, 0 to 127.
        lowest_pitch, highest_pitch: MIDI keys: the range of an instrument that is known by name, of others the keys
            that it was trained on.
        rmse_cqt_db: of its mean output, against the clean teacher.
        evaluated: whether `rmse_cqt_db` was measured after training; else it is from the few seconds of the validation
            while training, the mean over all instruments of the network.
        header: of the file; its weights are unread.
    """

    name: str
    program: int | None
    lowest_pitch: int | None
    highest_pitch: int | None
    sample_rate_hz: int
    rmse_cqt_db: float | None
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
        return {name: value for name, value in vars(self).items() if name != "header"} | {"path": str(self.path)}


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

    def assign(self, score: Score, spec: str | None = None, kind: str | None = None) -> list[Seat]:
        """Who plays each track of the score, in order; tracks of one file share one checkpoint.

        Args:
            spec: `flute` for all tracks; `0=cello,1=trumpet` for numbered tracks, counted from 0, while the others go
                by their programs; None: all go by their programs. A mixture may stand for an instrument:
                `cello:0.5+trumpet:0.5`, each instrument embedding times its weight. Weights are above 0, up to 10, and
                are not normalised.
            kind: "harmonic", "synthnet" or another model, which plays the programs that it has an instrument for.

        Raises:
            InputError: no such instrument or track, a malformed spec or mixture, or nobody who can play.
        """
        chosen = []
        for track, text in zip(score.tracks, self._asked_by_track(spec, len(score.tracks)), strict=True):
            if text is None:
                player, why = self.nearest(track.program, kind)
                chosen.append((player, replace(player.header.voice(player.name), why=why)))
            else:
                chosen.append(self._by_name(text))
        loaded = {path: load_checkpoint(path) for path in {player.path for player, _ in chosen}}
        return [Seat(loaded[player.path], voice, player.where) for player, voice in chosen]

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
        else the piano, else the first. One's own play other programs than theirs only where nothing is shipped.

        Raises:
            InputError: there is none.
        """

        def rank(player: Player) -> tuple[bool, ...]:
            other_program, other_kind = player.program != program, player.header.config.model != kind
            other_family = player.program is None or family_of(player.program) != family_of(program)
            last_resort = other_family and player.name != FALLBACK
            return other_program or other_kind, other_program, not player.shipped, other_family, last_resort

        plain = [player for player in self.players if self.any_name or plain_name(player.name) == player.name]
        players = plain + [player for player in self.players if not rank(player)[0]]
        if not players:
            qualified = ", ".join(dict.fromkeys(player.name for player in self.players))
            asked = f"ask for one by name (--instrument: {qualified}), or " if qualified else ""
            raise InputError(
                f"no instrument plays by its program yet; {asked}make one: synthnet train --instrument trumpet"
            )
        player = min(players, key=rank)
        not_of_kind, other_program, _, other_family, _ = rank(player)
        if not other_program:
            return player, f"its program {program}" if not_of_kind else f"the {kind} network of program {program}"
        about = f"program {program}, {program_name(program)}"
        return player, f"as no instrument of its family ({about}) is here" if other_family else f"nearest to {about}"

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

    def _by_name(self, text: str) -> tuple[Player, Voice]:
        """An instrument, or a mixture within one network, whose first instrument then stands for its file."""
        if self.find(text) is not None or not set(":+") & set(text):
            player = self.named(text)
            return player, replace(player.header.voice(player.name), why="as asked")
        weights = _mixture_weights(text)
        names = [self.named(who).name for who, _ in weights]
        for players in self._files():
            found = [one for who, _ in weights if (one := _find(who, players))]
            if len(players) > 1 and len(found) == len(weights):
                style, parts = np.zeros(len(players)), list(zip(found, weights, strict=True))
                for player, (_, weight) in parts:
                    style[players.index(player)] += weight
                return found[0], Voice("+".join(f"{who.name}:{w:g}" for who, (_, w) in parts), style, "as asked")
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
        rmse_db, evaluated = _rmse_cqt_db(header.figures, name)
        rate = header.sample_rate_hz
        players.append(Player(name, program, lowest, highest, rate, rmse_db, evaluated, shipped, path, header))
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


def _rmse_cqt_db(figures: Mapping[str, Any], name: str) -> tuple[float | None, bool]:
    """RMSE-CQT of an instrument's mean output, and whether it was measured after training.

    That of whole pieces comes first, then of separate seconds, of the Prelude, and of the validation while training.
    """
    pieces = fact(figures, "evaluations", name, "pieces")
    of_pieces = [fact(piece, "expectation", "rmse_cqt_db") for piece in pieces] if isinstance(pieces, list) else []
    of_pieces = [figure for figure in of_pieces if isinstance(figure, float)]
    in_order = [
        sum(of_pieces) / len(of_pieces) if of_pieces else None,
        fact(figures, "evaluations", name, "rmse_cqt_expectation_db"),
        fact(figures, "measured", name, "network", "prelude", "rmse_cqt_db"),
        fact(figures, "validation", "rmse_cqt_expectation_db"),
        fact(figures, "validation", "rmse_cqt_db"),
    ]
    known = ((figure, number < 3) for number, figure in enumerate(in_order) if isinstance(figure, float))
    return next(known, (None, False))


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
