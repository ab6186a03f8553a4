"""The command line: thin commands over the library. One line and exit status 2 for whatever the user got wrong."""

from __future__ import annotations

import os
import sys

# Threads of torch that wait for each other must not spin: on a machine that is busy with something else too, a
# training step takes ten times as long when they do. Has to be set before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from importlib import import_module

import click

from synthnet import __version__
from synthnet.cli.options import say
from synthnet.files import InputError, Interrupted

# Name, module and help of each command: modules, which load much, are only imported for the command that runs.
COMMANDS = {
    "render": ("render", "Play a MIDI file."),
    "instruments": ("instruments", "List the instruments that can be played."),
    "train": ("train", "Learn an instrument."),
    "corpus": ("corpora", "Build a corpus, recordings and their scores, or look into one."),
    "compare": ("measure", "RMSE-CQT of a recording against its reference."),
    "evaluate": ("measure", "All figures of quality, on a corpus's validation pieces."),
    "info": ("measure", "Parameters, receptive field and layers of a network, or of a checkpoint."),
    "recipe": ("recipe", "Run an experiment from a folder with a recipe.toml."),
}


class LazyGroup(click.Group):
    """Commands that are imported when they are called."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command = getattr(import_module(f"synthnet.cli.{COMMANDS[name][0]}"), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, told) for name, (_, told) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 110},
)
@click.version_option(__version__, prog_name="synthnet")
def cli() -> None:
    """Neural instruments: learn an instrument from minutes of music, then play any score.

    \b
    synthnet render song.mid                play a MIDI file with the instruments that come with SynthNet
    synthnet train --instrument trumpet     learn the trumpet
    """


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
