"""The command line: thin commands over the library. One line and exit status 2 for whatever the user got wrong."""

from __future__ import annotations

import os
import sys

# Threads of torch that wait for each other must not spin: on a machine that is busy with something else too, a
# training step takes ten times as long when they do. Has to be set before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import click

from synthnet import __version__
from synthnet.cli import corpora, instruments, measure, recipe, render, train
from synthnet.cli.options import say
from synthnet.files import InputError
from synthnet.training import Interrupted


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 110})
@click.version_option(__version__, prog_name="synthnet")
def cli() -> None:
    """Neural instruments: learn an instrument from nine minutes of music, then play any score.

    \b
    synthnet render song.mid                play a MIDI file with the instruments that come with SynthNet
    synthnet train --instrument trumpet     learn the trumpet from Bach's Cello Suite no. 1
    """


for command in (
    render.render,
    instruments.instruments,
    corpora.corpus,
    train.train,
    measure.compare,
    measure.evaluate,
    measure.info,
    recipe.recipe,
):
    cli.add_command(command)


def main() -> None:
    """Run the command line; faults of the input end in one line and exit status 2."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except InputError as fault:
        say(f"synthnet: {fault}")
        sys.exit(2)
    except click.ClickException as fault:
        say(f"synthnet: {fault.format_message()}")
        sys.exit(2)
    except OSError as fault:
        where = f"{fault.filename}: " if fault.filename else ""
        say(f"synthnet: {where}{fault.strerror or fault}")
        sys.exit(2)
    except Interrupted as stop:
        say(f"synthnet: {stop}")
        sys.exit(130)
    except (KeyboardInterrupt, click.Abort):
        say("synthnet: interrupted")
        sys.exit(130)
