"""What can be played: the instruments shipped with the package, and those trained here, in a folder of runs.

A shipped instrument is a file NAME.safetensors in `synthnet/shipped`, with its model card NAME.md beside it; one file
may hold several. Of a run `best.safetensors` counts, else `last.safetensors`. By the General MIDI program of a track
the shipped ones come first: a network that was tried for a minute is not taken unless it is asked for by its name, and
then the newest comes first, the shipped one last. An instrument with a qualified name, such as trumpet-synthnet, plays
when it is asked for, never by its program alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from synthnet.files import InputError
from synthnet.generation.voices import (
    asked_by_track,
    asked_voice,
    learned_name,
    looks_like_mixture,
    mixture,
    mixture_parts,
)
from synthnet.models.checkpoint import CheckpointHeader, Voice, fact, peek_checkpoint
from synthnet.score.general_midi import KNOWN_INSTRUMENTS, family_of, plain_name, program_name
from synthnet.score.notes import Score

SHIPPED = Path(__file__).parent.parent / "shipped"
DEFAULT_RUNS = Path("runs")  # below the folder that one works in
NETWORKS_OF_A_RUN = ("best.safetensors", "last.safetensors")  # the first that is there counts
NEAREST = "shipped"  # in place of a name: the shipped instrument nearest to a program
FALLBACK = "piano"  # plays the programs of whose family nobody is shipped


@dataclass(frozen=True)
class Source:
    """A file with a network that can be played."""

    path: Path
    shipped: bool
    checkpoint: CheckpointHeader

    @property
    def rate_hz(self) -> int:
        """The network's sample rate."""
        return self.checkpoint.sample_rate_hz

    @property
    def where(self) -> str:
        """Where it is, for a person."""
        return "shipped" if self.shipped else str(self.path)


@dataclass(frozen=True)
class Player:
    """An instrument that can be played, and all that is known of it; None is unknown.

    Attributes:
        program: General MIDI, 0 to 127.
        lowest_pitch, highest_pitch: MIDI keys; of an instrument of the paper's its range, of others the keys that it
            was trained on.
        rmse_cqt_db: of the expectation, against the clean teacher.
        evaluated: whether `rmse_cqt_db` is from `synthnet evaluate`; else from the few seconds of a training's
            validation, the mean over all instruments of the network.
    """

    source: Source
    name: str
    program: int | None
    lowest_pitch: int | None
    highest_pitch: int | None
    rmse_cqt_db: float | None
    evaluated: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "name": self.name,
            "program": self.program,
            "lowest_pitch": self.lowest_pitch,
            "highest_pitch": self.highest_pitch,
            "sample_rate_hz": self.source.rate_hz,
            "rmse_cqt_db": self.rmse_cqt_db,
            "evaluated": self.evaluated,
            "shipped": self.source.shipped,
            "path": str(self.source.path),
        }


@dataclass(frozen=True)
class Part:
    """Who plays a track."""

    source: Source
    voice: Voice


@dataclass(frozen=True)
class Library:
    """What can be played.

    Attributes:
        shipped: by file name.
        own: newest first.
        faults: a line for each file that cannot be played.
    """

    shipped: tuple[Source, ...]
    own: tuple[Source, ...]
    faults: tuple[str, ...]

    @property
    def players(self) -> list[Player]:
        """All instruments, the shipped ones first."""
        return [player for source in (*self.shipped, *self.own) for player in players_of(source)]

    @property
    def plain_players(self) -> list[Player]:
        """Those that may play by a track's program: without a qualified name."""
        return [player for player in self.players if plain_name(player.name) == player.name]

    def assign(self, score: Score, spec: str | None, kind: str | None = None) -> list[Part]:
        """Who plays each track of the score, in order.

        Args:
            spec: as for `voices.assign_voices`. A mixture is of instruments of one network.
            kind: "harmonic", "synthnet" or another model, which plays the programs that it has an instrument for.

        By its General MIDI program a track goes to the instrument, shipped or else own, of that program, else to the
        shipped one that is nearest (`nearest`).

        Raises:
            InputError: see `assign_voices`; also nobody who can play.
        """
        asked = asked_by_track(spec, len(score.tracks), lambda text: self.find(text) is not None)
        parts = [
            self.part_for_program(track.program, kind) if text is None else self.asked_part(text)
            for track, text in zip(score.tracks, asked, strict=True)
        ]
        return parts

    def find(self, text: str) -> Player | None:
        """The instrument of this name, in upper or lower case, or code: the newest own one, else the shipped one."""
        for source in (*self.own, *self.shipped):
            if name := learned_name(text.strip(), source.checkpoint):
                return next(player for player in players_of(source) if player.name == name)
        return None

    def named(self, text: str) -> Player:
        """As `find`; InputError if there is none."""
        player = self.find(text)
        if player is None:
            names = ", ".join(dict.fromkeys(player.name for player in self.players)) or "none at all"
            what = f"no instrument {text!r}" if text.strip() else "an instrument's name is missing"
            raise InputError(f"{what}; there are: {names} (see synthnet instruments)")
        return player

    def asked_part(self, text: str) -> Part:
        """The part of an instrument's name, or of a mixture; raises as `assign`."""
        if looks_like_mixture(text) and self.find(text) is None:
            names = [self.named(who).name for who, _ in mixture_parts(text)]
            for source in (*self.own, *self.shipped):
                if source.checkpoint.config.styles and all(learned_name(who, source.checkpoint) for who in names):
                    return Part(source, mixture(text, source.checkpoint))
            together = " and ".join(dict.fromkeys(names))
            raise InputError(
                f"{text!r}: a mixture is made within one network, and none here learned {together} together"
            )
        player = self.named(text)
        return Part(player.source, asked_voice(player.name, player.source.checkpoint))

    def part_for_program(self, program: int, kind: str | None = None) -> Part:
        """The part for a General MIDI program, 0 to 127; raises as `assign`."""
        for player in self.players:
            if player.program == program and player.source.checkpoint.config.model == kind:
                why = f"the {kind} network of program {program}"
                return Part(player.source, replace(player.source.checkpoint.voice(player.name), why=why))
        exact = [player for player in self.plain_players if player.program == program]
        player, why = (exact[0], f"its program {program}") if exact else self.nearest(program)
        return Part(player.source, replace(player.source.checkpoint.voice(player.name), why=why))

    def starting_point(self, text: str, program: int) -> tuple[Path, str | None]:
        """The file that a training starts from, and the instrument in it; None: all that are in it.

        Args:
            text: "shipped", the shipped instrument nearest to the program; FILE.safetensors; or a name, see `find`.

        Raises:
            InputError: there is none.
        """
        if text.endswith(".safetensors"):
            return Path(text), None
        if text == NEAREST and not any(player.source.shipped for player in self.plain_players):
            raise InputError("no instrument is shipped with this installation; name one, or a FILE.safetensors")
        player = self.nearest(program)[0] if text == NEAREST else self.named(text)
        return player.source.path, player.name

    def nearest(self, program: int) -> tuple[Player, str]:
        """The shipped instrument nearest to a General MIDI program, 0 to 127, and why.

        That of the program, else of its family, else the piano, else the first; where nothing is shipped, the newest.

        Raises:
            InputError: there is none.
        """
        plain = self.plain_players
        players = [player for player in plain if player.source.shipped] or plain
        if not players:
            qualified = ", ".join(dict.fromkeys(player.name for player in self.players))
            asked = f"ask for one by name (--instrument: {qualified}), or " if qualified else ""
            raise InputError(
                f"no instrument plays by its program yet; {asked}make one: synthnet train --instrument trumpet"
            )
        for player in players:
            if player.program == program:
                return player, f"its program {program}"
        about = f"program {program} ({program_name(program)})"
        for player in players:
            if player.program is not None and family_of(player.program) == family_of(program):
                return player, f"nearest to {about}"
        fallback = next((player for player in players if player.name == FALLBACK), players[0])
        return fallback, f"as no instrument of its family ({about}) is here"


def read_library(runs: Path = DEFAULT_RUNS, shipped: Path = SHIPPED) -> Library:
    """The instruments of both folders, either of which may be missing."""
    faults: list[str] = []
    found = [path for name in reversed(NETWORKS_OF_A_RUN) for path in runs.glob(f"*/{name}")]
    of_runs = {path.parent: path for path in found}  # the best comes last and counts
    newest = sorted(of_runs.values(), key=lambda path: path.stat().st_mtime, reverse=True)
    return Library(
        tuple(sources_of(sorted(shipped.glob("*.safetensors")), True, faults)),
        tuple(sources_of(newest, False, faults)),
        tuple(faults),
    )


def sources_of(paths: Iterable[Path], shipped: bool, faults: list[str]) -> list[Source]:
    """The sources among some files; a line in `faults` for each other one."""
    sources = []
    for path in paths:
        try:
            sources.append(Source(path, shipped, peek_checkpoint(path)))
        except InputError as fault:
            faults.append(str(fault))
    return sources


def players_of(source: Source) -> list[Player]:
    """The instruments of a source, in the order of its network."""
    checkpoint, players = source.checkpoint, []
    ranges = {who.name: (who.lowest_pitch, who.highest_pitch) for who in KNOWN_INSTRUMENTS}
    for number, (name, program) in enumerate(zip(checkpoint.instruments, checkpoint.programs, strict=True)):
        learned = [fact(checkpoint.training, "ranges", number, end) for end in ("lowest_pitch", "highest_pitch")]
        lowest, highest = ranges.get(name, [key if isinstance(key, int) else None for key in learned])
        figure = evaluated = evaluated_rmse_db(checkpoint.figures, name)
        if figure is None:
            validation = fact(checkpoint.figures, "validation")
            figure = fact(validation, "rmse_cqt_expectation_db") or fact(validation, "rmse_cqt_db")
        figure = figure if isinstance(figure, float) else None
        players.append(Player(source, name, program, lowest, highest, figure, evaluated is not None))
    return players


def evaluated_rmse_db(figures: Mapping[str, Any], name: str) -> float | None:
    """RMSE-CQT of an instrument's whole pieces, else of its seconds, as it was measured after training."""
    pieces = fact(figures, "evaluations", name, "pieces")
    told = [fact(piece, "expectation", "rmse_cqt_db") for piece in pieces] if isinstance(pieces, list) else []
    rmse_db = [figure for figure in told if isinstance(figure, float)]
    if rmse_db:
        return sum(rmse_db) / len(rmse_db)
    seconds = fact(figures, "evaluations", name, "rmse_cqt_expectation_db")
    if seconds is None:  # of a shipped harmonic instrument
        seconds = fact(figures, "measured", name, "network", "prelude", "rmse_cqt_db")
    return seconds if isinstance(seconds, float) else None
