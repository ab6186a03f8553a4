"""`synthnet listen`: a listening test as a web page, and what its listeners say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from synthnet.cli.options import FiniteRange, Pair, as_json, path_type, say, show
from synthnet.evaluation import listening, opinions
from synthnet.evaluation.opinions import ALL, PAPER, PAPER_CORRELATION, Listening
from synthnet.experiments.results import number, table
from synthnet.files import InputError


@click.group()
def listen() -> None:
    """Ask people how good it sounds: build a listening test as a web page, then read the answers."""


@listen.command("build", short_help="Write a listening test as a web page.")
@click.option("--pieces", required=True, help="MIDI files, with commas.")
@click.option(
    "--model",
    "models",
    multiple=True,
    type=Pair("NAME=INSTRUMENT-OR-FILE"),
    help="A model's name, and who plays: an instrument, FILE.safetensors, or shipped, all that ship; repeat for more.",
)
@click.option(
    "--audio",
    multiple=True,
    type=Pair("NAME=FOLDER"),
    help="Another program's sounds, FOLDER/INSTRUMENT/PIECE.wav; repeat for more.",
)
@click.option("--instruments", default="all", help="Which instruments, with commas; all: that a model plays.")
@click.option("--out", type=path_type, required=True, help="A new folder for the page and the key.")
@click.option("--abx", is_flag=True, help="Ask whether X is A, the teacher, or B, the model, in place of ratings.")
@click.option("--hidden-reference", is_flag=True, help="Put the teacher among the samples, too.")
@click.option("--anchor", is_flag=True, help="Put the teacher below 3.5 kHz among the samples.")
@click.option(
    "--post",
    "post_url",
    default="",
    show_default=False,
    metavar="URL",
    help="Where the page sends the answers.  [default: a file]",
)
@click.option("--seconds", default=5.0, type=FiniteRange(min=1, max=60), help="How much of each piece.")
@click.option("--seed", default=0, type=click.IntRange(min=0), help="Random seed of the models.")
def listen_build(
    pieces: str,
    models: tuple[tuple[str, str], ...],
    audio: tuple[tuple[str, str], ...],
    instruments: str,
    out: Path,
    **options: Any,
) -> None:
    """Write a listening test: a folder page/ for any web host, and key.json, which stays with you.

    A page plays the beginning of a piece by the teacher, then by each model, in random order and without names, at one
    loudness. Listeners rate all of them from 5 to 1. To try it: python -m http.server --directory FOLDER/page
    """
    design = listening.Design(**options)
    if design.abx and (design.hidden_reference or design.anchor):
        raise InputError("--hidden-reference and --anchor are samples to rate: --abx has none")
    if design.post_url and not design.post_url.startswith(("https://", "http://", "/")):
        raise InputError(f"--post {design.post_url}: must begin with https://, http:// or /")
    for name, _ in (*models, *audio):
        listening.check_name(name)
    players = listening.models_of(models, design)
    for name, folder in audio:
        for instrument, play in listening.audio_of(Path(folder)).items():
            if name in players.setdefault(instrument, {}):
                raise InputError(f"--audio {name}: two of this name play the {instrument}")
            players[instrument][name] = play
    if not players:
        raise InputError("nobody plays: name a --model or --audio")
    if instruments != ALL:
        asked = list(dict.fromkeys(name.strip() for name in instruments.split(",")))
        if missing := [name for name in asked if name not in players]:
            raise InputError(f"--instruments {missing[0]}: no model plays it; there are: {', '.join(players)}")
        players = {name: players[name] for name in asked}
    heard = {name for of_instrument in players.values() for name in of_instrument}
    if silent := [name for name, _ in (*models, *audio) if name not in heard]:
        asked_for = ", ".join(players)
        raise InputError(f"{silent[0]}: plays none of {asked_for}; an own cello plays there if it is called cello-NAME")
    key = listening.build(out, [Path(piece) for piece in pieces.split(",")], players, design, say)
    say(f"{out / 'page'}: {len(key)} pages; try them: python -m http.server --directory {out / 'page'}")
    say(f"{out / 'key.json'}: who made which sound; keep it from the listeners")


@listen.command("results", short_help="Mean opinion scores from the answers.")
@click.argument("answers", nargs=-1, required=True, type=path_type)
@click.option("--key", "key_path", type=path_type, help="The key.  [default: key.json beside the answers or one above]")
@click.option("--without-flagged", is_flag=True, help="Leave listeners out whose ratings are to be doubted.")
@click.option("--plot", "plot_path", type=path_type, help="A PNG: scores of each model, and RMSE-CQT beside them.")
@click.option("--json", "print_json", is_flag=True, help="Print JSON.")
def listen_results(
    answers: tuple[Path, ...], key_path: Path | None, without_flagged: bool, plot_path: Path | None, print_json: bool
) -> None:
    """Mean opinion scores by model and instrument beside the paper's, or what ABX says, from files of answers."""
    key = opinions.read_key(key_path or opinions.find_key(answers))
    given, remarks = opinions.read_all(answers, key)
    for remark in remarks:
        say(remark)
    found = opinions.results(key, given, without_flagged)
    if plot_path:
        from synthnet.evaluation.charts import plot_listening

        plot_listening(plot_path, found)
        say(f"{plot_path}: the picture")
    if print_json:
        show(as_json(found.as_dict()))
        return
    show("\n\n".join(_abx_text(found) if found.identified else _rating_text(found)))
    for listener, why in found.flags.items():
        show(f"listener {listener}, {'left out' if without_flagged else 'counted'}: {'; '.join(why)}")


def _rating_text(found: Listening) -> list[str]:
    """The paper's Table 5 with ours, then what RMSE-CQT has to do with it."""
    models, instruments = (list(dict.fromkeys(column)) for column in zip(*found.opinions, strict=True))
    rows = []
    for instrument in sorted(instruments, key=lambda name: name == ALL):
        ours = [found.opinions.get((model, instrument)) for model in models]
        cells = [number(one.mos, 2, one.ci95) if one else number(None) for one in ours]
        papers = [number(mos, 2, ci95) if instrument == ALL else "" for mos, ci95 in PAPER.values()]
        rows.append([instrument, *cells, *papers])
    lines = [
        f"Mean opinion scores, 5 excellent to 1 bad, ± 95%; {found.listeners} listeners, "
        f"{max(one.ratings for one in found.opinions.values())} ratings of a model at most.",
        table(["instrument", *models, *(f"paper: {name}" for name in PAPER)], rows),
        "RMSE-CQT and opinion, Pearson's r over pairs of a model and an instrument (-1: the nearer, the better liked).",
    ]
    rows = [
        [name, str(one.pairs), number(one.r), number(one.p, 3), number(one.r_50), number(one.p_50, 3)]
        for name, one in found.correlations.items()
    ]
    rows.append(["paper, all models", "21", number(PAPER_CORRELATION), *[number(None)] * 3])
    return [*lines, table(["within", "pairs", "r, floor -80 dB", "p", "r, floor -50 dB", "p"], rows)]


def _abx_text(found: Listening) -> list[str]:
    rows = []
    for (model, instrument), one in sorted(found.identified.items(), key=lambda item: item[0][1] == ALL):
        share = f"{one.share:.0%} ({one.low:.0%} to {one.high:.0%})"
        rows.append([model, instrument, f"{one.right} of {one.trials}", share, f"{one.p:.3g}"])
    return [
        f"ABX, teacher against model; {found.listeners} listeners. Chance is 50%; p is one-sided.",
        table(["model", "instrument", "right", "share, 95% interval", "p"], rows),
    ]
