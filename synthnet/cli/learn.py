"""`synthnet learn`: an instrument from recordings, without a score."""

from __future__ import annotations

from pathlib import Path

import click

from synthnet.cli.options import as_json, path_type, positive, say, show
from synthnet.files import InputError, atomic_write
from synthnet.score.general_midi import known_instrument, own_instrument

PROOF_S = 20.0  # of the held-out music


@click.command()
@click.argument("takes", nargs=-1, required=True, type=path_type)
@click.option("--name", required=True, help="Name of the instrument, such as my-violin.")
@click.option(
    "--program",
    type=click.IntRange(0, 127),
    help="Its General MIDI program, 40 for a violin.  [default: by a word of the name, such as violin]",
)
@click.option("--channel", default="mean", type=click.Choice(["mean", "left", "right"]), help="Of stereo recordings.")
@click.option("--minutes", default=8.0, type=positive, help="Length of the training.")
@click.option("--json", "print_json", is_flag=True, help="Print the report as JSON.")
def learn(
    takes: tuple[Path, ...], name: str, program: int | None, channel: str, minutes: float, print_json: bool
) -> None:
    """Learn an instrument from recordings of it alone; no score is needed.

    \b
    synthnet learn take1.wav take2.wav --name my-violin
    synthnet render song.mid --instrument my-violin

    Five to fifteen minutes by one player in one room, dry: every key that you want, long and short, soft and loud. The
    notes are found by a transcriber, which errs now and then. The last fifth of the longest recording is not learned,
    but played at the end: runs/NAME/proof.wav, and proof.mid.
    """
    from synthnet.api import Instrument
    from synthnet.corpus.build import default_folder
    from synthnet.evaluation.baselines import harmonic_players
    from synthnet.evaluation.measure import measure_recordings
    from synthnet.generation.library import DEFAULT_RUNS
    from synthnet.models.config import HARMONIC_RATE_HZ
    from synthnet.recordings.build import Options, corpus_from_recordings
    from synthnet.recordings.pairs import Take
    from synthnet.score.midi import write_midi
    from synthnet.score.notes import Score, Track
    from synthnet.training.settings import has_run

    who = own_instrument(name, program_of(name) if program is None else program)
    run, folder = DEFAULT_RUNS / who.name, default_folder(who.name, HARMONIC_RATE_HZ, wide=True)
    if has_run(run):
        raise InputError(
            f"{run}: holds a run already; choose another --name, or continue it: synthnet train --resume "
            f"--instrument {who.name} --out {run}"
        )
    heard = [Take(path.stem, path) for path in takes]
    corpus, reports = corpus_from_recordings(folder, who.name, who.program, heard, Options(channel=channel), say)
    say(f"{folder}: the corpus; synthnet corpus info looks into it")
    instrument = Instrument.train(who.name, minutes, folder=run, corpus=folder, report=say)
    (held_out,) = corpus.split("valid")
    players = harmonic_players(instrument.seat.checkpoint, corpus)
    held = {player: measure_recordings(corpus, play)[held_out.name].as_dict() for player, play in players.items()}
    notes = tuple(note for note in corpus.read_notes(held_out) if note.start_s < PROOF_S)
    proof = Score((Track(notes, who.program, who.name),))
    write_midi(proof, run / "proof.mid")
    instrument.play(proof).save(run / "proof.wav")
    report = {
        "instrument": who.name,
        "program": who.program,
        "recordings": [found.as_dict() for found in reports],
        "held_out": held,
    }
    with atomic_write(run / "report.json") as beside:
        beside.write_text(as_json(report) + "\n", "utf-8")
    if print_json:
        show(as_json(report))
    else:
        for found in reports:
            show(found.text())
        show("\nthe fifth that was not learned: RMSE-CQT in dB with the floor at -80 / -50 dB, level in dB")
        for player, one in held.items():
            show(f"{player:16} {one['rmse_cqt_db']:6.2f} / {one['rmse_cqt_50_db']:5.2f} {one['level_db']:+6.1f}")
    say(f"{run}: proof.wav plays proof.mid, music of that fifth; report.json; best.safetensors is the instrument")
    say(f"hear it: synthnet render SONG.mid --instrument {who.name}")


def program_of(name: str) -> int:
    """The program of the instrument that a word of a name is, as in my-violin; InputError if none is."""
    for word in name.replace("_", "-").split("-"):
        if (who := known_instrument(word)) is not None:
            return who.program
    raise InputError(f"--program is needed: the General MIDI program of {name}, 0 to 127, such as 40 for a violin")
