"""The command line: thin commands over the library. An error of the input is one line and exit status 2."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module

import click

from synthnet import __version__
from synthnet.cli.options import error_line, say
from synthnet.files import InputError, Interrupted

# Module and help of each command. A module, which may load much, is imported when its command runs.
COMMANDS = {
    "render": ("render", "Play a MIDI file."),
    "live": ("live", "Play an instrument from a MIDI keyboard, as it sounds."),
    "instruments": ("instruments", "List the instruments that can be played."),
    "train": ("train", "Learn an instrument."),
    "learn": ("learn", "Learn an instrument from recordings, without a score."),
    "export": ("export", "Make an SFZ instrument for samplers, or an ONNX file."),
    "corpus": ("corpora", "Build or import a corpus, recordings and their scores, or look into one."),
    "compare": ("measure", "RMSE-CQT of recordings against their reference, in figures and pictures."),
    "evaluate": ("evaluate", "All figures of quality, on a corpus's validation pieces."),
    "info": ("measure", "Parameters, receptive field and layers of a network, or of a checkpoint."),
    "show": ("show", "Draw a MIDI file as piano rolls, or the curves of a run."),
    "inspect": ("inspect", "What the layers of trained networks have learned."),
    "listen": ("listen", "A listening test as a web page, and its results."),
    "recipe": ("recipe", "Run an experiment from a folder with a recipe.toml."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they run."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"synthnet.cli.{COMMANDS[name][0]}"), name)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 110},
)
@click.version_option(__version__, prog_name="synthnet")
def cli() -> None:
    """Neural instruments: learn an instrument from minutes of music, then play any score.

    \b
    synthnet render song.mid                     play a MIDI file with the instruments that come with SynthNet
    synthnet train --instrument trumpet          learn the trumpet
    synthnet learn take.wav --name my-violin     learn what you recorded
    """


def main() -> None:
    """Run the command line; an error of the input ends in one line and exit status 2."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the caller: the next file that is opened would be written to
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # not every terminal has UTF-8
    os.environ["MPLBACKEND"] = "agg"  # a notebook's, which is inherited, may not be here
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was begun is put in order
    try:
        cli(standalone_mode=False)
        return
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help())
        return
    except click.ClickException as error:
        status, line = 2, error.format_message()
    except (InputError, OSError) as error:
        status, line = 2, error_line(error)
    except (Interrupted, KeyboardInterrupt, click.Abort) as stop:
        status, line = 130, str(stop.__cause__ or stop) or "interrupted"  # click makes an Abort of Ctrl-C
    say(f"synthnet: {line}")
    sys.exit(status)
