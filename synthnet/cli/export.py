"""`synthnet export`: an instrument for samplers, and its network for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from synthnet.audio.files import FORMATS
from synthnet.cli.options import path_type, progress_bar, say
from synthnet.files import InputError
from synthnet.generation.library import Seat, read_library
from synthnet.generation.render import ENGINES
from synthnet.models.checkpoint import credit_of, fact


@click.command()
@click.argument("instrument")
@click.option("-o", "--out", required=True, type=path_type, help="A folder for an SFZ instrument, or a .onnx file.")
@click.option("--force", is_flag=True, help="Write beside and over files that SynthNet did not make.")
def export(instrument: str, out: Path, force: bool) -> None:
    """Make an SFZ instrument for samplers, or an ONNX file of the network for other programs.

    The SFZ folder has samples of every third key at four velocities, looped where the instrument sustains. The network
    computes the amplitudes of a note's partials and noise bands at any time; examples/play_onnx.py plays it.
    """
    library = read_library()
    if ENGINES[library.named(instrument).header.config.kind].draws:
        raise InputError(f"{instrument}: the paper's networks cannot be exported; harmonic instruments can")
    seat = library.seat(instrument)
    if out.suffix.lower() == ".onnx":
        from synthnet.generation.export_onnx import export_onnx

        export_onnx(seat, out, credit_line(seat), force)
        say(f"{out}: the network of {seat.voice.name}, {out.stat().st_size / 1e6:.1f} MB")
        return
    if out.suffix.lower() in (".sfz", *FORMATS):
        raise InputError(f"{out}: an SFZ instrument is a folder; leave out the ending")
    # Numba is loaded only here.
    from synthnet.generation.export_sfz import RATE_HZ, SampledInstrument, export_sfz

    sampled = SampledInstrument(seat)
    with progress_bar(sampled.n_samples, RATE_HZ) as advance:
        export_sfz(sampled, out, credit_line(seat), force, advance)
    n_bytes = sum(path.stat().st_size for path in out.rglob("*.*"))
    say(f"{out / sampled.name}.sfz: {len(sampled.keys)} keys, four velocities, {n_bytes / 1e6:.0f} MB")


def credit_line(seat: Seat) -> str:
    """Licence and origin of an instrument."""
    if credit := credit_of(seat.checkpoint):
        return "learned from recordings: " + " ".join(credit.split())
    if seat.where == "shipped":
        return "MIT licence; learned from the sound font FluidR3 GM by Frank Wen, which is MIT, too"
    return f"your own; learned from {fact(seat.checkpoint.training, 'corpora', 0, 'soundfont') or 'recordings'}"
