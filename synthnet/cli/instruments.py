"""`synthnet instruments`: list the instruments that can be played."""

from __future__ import annotations

import json

import click

from synthnet.cli.options import say, show
from synthnet.generation.library import Player, read_library
from synthnet.score.general_midi import pitch_name

COLUMNS = ("instrument", "program", "keys", "rate, Hz", "RMSE-CQT, dB", "where")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def instruments(as_json: bool) -> None:
    """List the instruments that can be played: those shipped with SynthNet, and your own, in runs/.

    RMSE-CQT, lower is better, is that of `render --output mean` on music that was never trained on. With ~ it is a
    guess, from the few seconds of a validation while training; synthnet evaluate --keep measures it.
    """
    library = read_library()
    if as_json:
        show(json.dumps([player.as_dict() for player in library.players], indent=2))
    else:
        rows = [COLUMNS, *map(row_of, library.players)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            show("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for error in library.errors:
        say(f"cannot be played: {error}")


def row_of(player: Player) -> tuple[str, ...]:
    """An instrument as the cells of the table."""
    keys = [f"{key} {pitch_name(key)}" for key in (player.lowest_pitch, player.highest_pitch) if key is not None]
    figure = "" if player.rmse_cqt_db is None else f"{'' if player.evaluated else '~'}{player.rmse_cqt_db:.1f}"
    cells = ["" if player.program is None else str(player.program), " to ".join(keys) if len(keys) == 2 else ""]
    cells += [str(player.sample_rate_hz), figure, player.where]
    return player.name, *(cell or "unknown" for cell in cells)
