"""`synthnet instruments`: list the instruments that can be played."""

from __future__ import annotations

from collections.abc import Sequence

import click

from synthnet.cli.options import as_json, say, show
from synthnet.generation.library import Player, read_library
from synthnet.score.general_midi import pitch_name
from synthnet.text import columns

COLUMNS = (
    *("instrument", "program", "plays", "keys", "kind", "size", "licence"),
    *("rate, Hz", "RMSE-CQT -80 / -50, dB", "where"),
)


@click.command()
@click.option("--json", "print_json", is_flag=True, help="Print JSON.")
def instruments(print_json: bool) -> None:
    """List the instruments that can be played: those shipped with SynthNet, and your own, in runs/.

    Plays has the General MIDI programs, 0 to 127, that go to an instrument unless you ask for another. RMSE-CQT, lower
    is better, is that of `render --output mean` on music that was never trained on, with the floor at -80 and at -50
    dB. With ~ it is a guess, from the few seconds of a validation while training; synthnet evaluate --keep measures it.
    """
    library = read_library()
    played = library.programs()
    if print_json:
        rows = [player.as_dict() | {"plays": played.get(player, [])} for player in library.players]
        show(as_json(rows))
    else:
        show(columns([COLUMNS, *(row_of(player, played.get(player, [])) for player in library.players)]))
    for error in library.errors:
        say(f"cannot be played: {error}")


def row_of(player: Player, plays: Sequence[int]) -> tuple[str, ...]:
    """An instrument as the cells of the table."""
    plain = player.as_dict()
    keys = [f"{key} {pitch_name(key)}" for key in (player.lowest_pitch, player.highest_pitch) if key is not None]
    figures = [f"{figure:.1f}" for figure in (player.rmse_cqt_db, player.rmse_cqt_50_db) if figure is not None]
    cells = ["" if player.program is None else str(player.program), ranges(plays) or "when asked for"]
    cells += [" to ".join(keys) if len(keys) == 2 else "", plain["kind"], f"{plain['bytes'] / 1e6:.1f} MB"]
    cells += [plain["licence"] or "your own", str(player.sample_rate_hz)]
    cells += [("" if player.evaluated or not figures else "~") + " / ".join(figures), player.where]
    return player.name, *(cell or "unknown" for cell in cells)


def ranges(numbers: Sequence[int]) -> str:
    """Sorted numbers, such as 0-7,16."""
    starts = [number for number in numbers if number - 1 not in numbers]
    ends = [number for number in numbers if number + 1 not in numbers]
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))
