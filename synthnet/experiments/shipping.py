"""From the finished runs of the recipe `shipped` to what ships: checkpoints, their cards, and the recipe's results.

    synthnet/shipped/NAME.safetensors   weights in half precision, the figures in the header
    synthnet/shipped/NAME.md            the card
    recipes/shipped/results/            results.json, results.md, figures.png, training/NAME.jsonl

`recipes/shipped/ship.py` calls `ship`. The same runs give the same files. An instrument whose run is not finished is
reported and left as it is.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from synthnet.evaluation.plots import plot_players
from synthnet.experiments.machine import machine_line
from synthnet.experiments.recipe import Recipe, Run
from synthnet.experiments.results import table
from synthnet.experiments.runner import FINISHED, networks_folder, read_outcome
from synthnet.files import InputError, atomic_write, sha256
from synthnet.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from synthnet.score.general_midi import INSTRUMENTS, MidiInstrument, find_instrument, pitch_name, program_name
from synthnet.text import clock
from synthnet.training.run import training_rows

LARGEST_BYTES = 1_000_000  # of a shipped harmonic instrument
MEASURED_WEIGHTS = ("cents", "stretch", "ratios", "release_s", "nearest")  # keep their precision
NETWORK, NSF, SAMPLER, STATIC = "network", "NSF", "sampler", "static partials"
NOT_MEASURED = "Not measured yet."
BASELINES = (STATIC, SAMPLER)
PLAYERS = (NETWORK, *BASELINES, NSF)
MARKERS = "<!-- figures -->", "<!-- /figures -->"  # what lies between them in a page is written here

Figures = Mapping[str, Mapping[str, float]]
"""Of a player: the figures below, by part and name."""

DISTANCES = ("rmse_cqt_db", "rmse_cqt_50_db", "log_spectral_db")
PARTS = {
    "prelude": DISTANCES,
    "pieces_mean": DISTANCES,
    "levels": ("worst_level_db", "worst_centroid"),
    "held": ("worst_db",),
}
PLAYER_HEAD = ("Prelude -80 / -50", "spectra", "pieces -80 / -50", "spectra", "levels", "centroid", "held")
MUSIC = {"prelude": "the Prelude", "pieces_mean": "the pieces"}
FLOORS = {"rmse_cqt_db": "-80 dB", "rmse_cqt_50_db": "-50 dB"}

# What was aimed at. The distances are means over the paper's seven instruments, the others hold for each instrument.
MEAN_AIMS = {"prelude": (7.8, 5.8), "pieces_mean": (8.0, 4.5)}
NOTE_AIMS = {("levels", "worst_level_db"): 3.0, ("levels", "worst_centroid"): 0.10, ("held", "worst_db"): 3.0}
FARTHER_THAN_NSF_DB = 1.0

PLAYERS_LEGEND = """\
- **Prelude, pieces**: RMSE-CQT in dB with the floor at -80 / at -50 dB; lower is nearer to the teacher. The Prelude of
  BWV 1007 has velocities 40 to 115. The pieces are six of 12 s, one to three voices, velocities 50 to 124.
- **Spectra**: multi-resolution log-spectral distance of the whole band, in dB.
- **Levels, centroid**: the greatest difference of single notes from the teacher, velocities 20 to 127, three keys: of
  the level in dB, relative to velocity 127, and of the spectral centroid.
- **Held**: the greatest difference in dB of a note held for 1, 2, 4, 6 and 8 s, where the teacher is above -50 dB.
- **Static partials** are the network without noise and without time. The **sampler** is cut from the same corpus; its
  notes end with their recordings.
- The reference is the sound font FluidR3 GM, played by FluidSynth at 44.1 kHz."""
NSF_NOTE = """\
- **NSF** is the network that shipped before. It was measured on the first 60 s of the Prelude, at 16 kHz and with one
  gain for each piece, which favours it."""


@dataclass(frozen=True)
class Finished:
    """An instrument whose run is finished.

    Attributes:
        outcome: the run's run.json.
        rows: of its metrics.jsonl.
        checkpoint: as it was trained.
        path: of what ships.
        figures: by player; of the paper's seven that of NSF, too.
    """

    instrument: MidiInstrument
    outcome: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    checkpoint: Checkpoint
    path: Path
    figures: Mapping[str, Figures]

    @property
    def of_the_seven(self) -> bool:
        """Whether it is one of the paper's instruments."""
        return self.instrument in INSTRUMENTS

    @property
    def trained_s(self) -> float:
        """Seconds of training, without the evaluations before the last."""
        evaluated_s = [row["evaluation_s"] for row in self.rows if "evaluation_s" in row]
        return float(self.rows[-1]["elapsed_s"] - sum(evaluated_s[:-1])) if self.rows else 0.0


def ship(recipe: Recipe, out: Path, shipped: Path, results: Path, readme: Path | None = None) -> list[str]:
    """Write all files for the runs that are finished; the instruments that are missing, a line each.

    Args:
        out: where `synthnet recipe run` keeps its networks.
        shipped: folder of checkpoints and cards.
        results: folder of the recipe's results.
        readme: gets the table between its two markers.

    Raises:
        InputError: a checkpoint that is damaged or would be too large.
    """
    nsf_path = recipe.folder / "nsf.json"
    nsf = json.loads(nsf_path.read_text("utf-8"))["instruments"] if nsf_path.exists() else {}
    finished: list[Finished] = []
    missing: dict[str, str] = {}
    for run in recipe.runs:
        folder = networks_folder(out) / run.folder_name
        outcome = read_outcome(folder)
        if outcome["status"] == FINISHED:
            finished.append(read_finished(run, folder, outcome, shipped, nsf))
        else:
            missing[run.learner] = outcome["status"]
    for one in finished:
        save_checkpoint(one.path, packed(one))
        if one.path.stat().st_size >= LARGEST_BYTES:
            raise InputError(f"{one.path}: {one.path.stat().st_size:,} bytes, at most {LARGEST_BYTES:,} may ship")
        write_text(one.path.with_suffix(".md"), card(one))
        write_text(results / "training" / f"{one.instrument.name}.jsonl", json_lines(one.rows))
    write_text(results / "results.json", results_json(finished, missing))
    write_text(results / "results.md", results_page(recipe, finished, missing))
    if finished:
        by_instrument = {one.instrument.name: one.figures for one in finished}
        plot_players(results / "figures.png", by_instrument, PLAYERS, "RMSE-CQT on the Prelude with dynamics, dB")
        if readme is not None:
            fill(readme, readme_table(finished))
    if (page := recipe.folder / "README.md").exists():
        fill(page, "\n\n".join([*conclusions_of(finished), *missing_line(missing)]) or NOT_MEASURED)
    return [f"{name}: {status}" for name, status in missing.items()]


def read_finished(
    run: Run, folder: Path, outcome: Mapping[str, Any], shipped: Path, nsf: Mapping[str, Any]
) -> Finished:
    """What a finished run left in its folder."""
    name = run.learner
    players = {player["player"]: player for player in outcome["final"][name]["players"]}
    if NSF in nsf.get(name, {}):
        players[NSF] = nsf[name][NSF]
    return Finished(
        instrument=find_instrument(name),
        outcome=outcome,
        rows=training_rows(folder),
        checkpoint=load_checkpoint(folder / "last.safetensors"),
        path=shipped / f"{name}.safetensors",
        figures={player: chosen(figures) for player, figures in players.items()},
    )


def chosen(figures: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The figures of a card, out of all that were measured."""
    return rounded({part: {name: figures[part][name] for name in names} for part, names in PARTS.items()})


def rounded(value: Any) -> Any:
    """Plain values with numbers to a thousandth."""
    return json.loads(json.dumps(value), parse_float=lambda text: round(float(text), 3))


def packed(one: Finished) -> Checkpoint:
    """The checkpoint as it ships: learned weights in half precision, and the figures in the header."""
    checkpoint = one.checkpoint
    weights = {name: value if name in MEASURED_WEIGHTS else halved(value) for name, value in checkpoint.weights.items()}
    measured = {player: figures for player, figures in one.figures.items() if player != NSF}
    figures = {**checkpoint.figures, "measured": {one.instrument.name: measured}}
    training = {**checkpoint.training, "machine": one.outcome["machine"], "commit": one.outcome["commit"]}
    return replace(checkpoint, weights=weights, training=training, figures=figures)


def halved(value: np.ndarray) -> np.ndarray:
    """A weight in half precision; InputError if it is too large for that."""
    if not np.abs(value).max(initial=0.0) <= np.finfo(np.float16).max:
        raise InputError("a weight is not finite or does not fit half precision; train the instrument again")
    return value.astype(np.float16)


# --------------------------------------------------------------------------------------------------- text


def player_cells(figures: Mapping[str, Any]) -> list[str]:
    """A player's figures as cells below `PLAYER_HEAD`."""
    row = []
    for part in ("prelude", "pieces_mean"):
        row += [both_floors(figures, part), f"{figures[part]['log_spectral_db']:.2f}"]
    levels, held = figures["levels"], figures["held"]
    return [*row, f"{levels['worst_level_db']:.1f}", f"{levels['worst_centroid']:.0%}", f"{held['worst_db']:.1f}"]


def both_floors(figures: Mapping[str, Any], part: str) -> str:
    """RMSE-CQT at both floors."""
    return f"{figures[part]['rmse_cqt_db']:.2f} / {figures[part]['rmse_cqt_50_db']:.2f}"


def nearer_baselines(one: Finished) -> str:
    """A sentence on the baselines that are nearer to the teacher than the network; empty if none is."""
    network, found = one.figures[NETWORK], []
    for baseline in BASELINES:
        theirs = one.figures[baseline]
        where = [
            f"{theirs[part][floor]:.2f} against {network[part][floor]:.2f} dB on {music} at {text}"
            for part, music in MUSIC.items()
            for floor, text in FLOORS.items()
            if theirs[part][floor] < network[part][floor]
        ]
        if where:
            what = "The sampler is" if baseline == SAMPLER else "The static partials are"
            found.append(f"{what} nearer to the teacher than the network: {', '.join(where)}.")
    return " ".join(found)


def not_reached(one: Finished) -> list[str]:
    """The aims that an instrument misses, a text each."""
    figures, missed = one.figures[NETWORK], []
    for part, aims in MEAN_AIMS.items():
        for (floor, text), aim in zip(FLOORS.items(), aims, strict=True):
            if figures[part][floor] > aim:
                missed.append(f"{MUSIC[part]} at {text}: {figures[part][floor]:.2f} dB (mean of the seven: {aim})")
    names = ("level of single notes", "spectral centroid", "held notes")
    for name, ((part, figure), aim) in zip(names, NOTE_AIMS.items(), strict=True):
        value = figures[part][figure]
        if value > aim:
            share = figure == "worst_centroid"
            missed.append(f"{name}: {value:.0%} ({aim:.0%})" if share else f"{name}: {value:.1f} dB ({aim:g})")
    return missed


def card(one: Finished) -> str:
    """The model card, a page."""
    who, outcome, training = one.instrument, one.outcome, one.checkpoint.training
    corpus, rate = outcome["corpora"][0], one.checkpoint.sample_rate_hz
    n_parameters = sum(one.checkpoint.weights[n].size for n in one.checkpoint.weights if n not in MEASURED_WEIGHTS)
    warning, missed = nearer_baselines(one), not_reached(one)
    rows = [[player, *player_cells(one.figures[player])] for player in PLAYERS if player in one.figures]
    low, high = (f"{key} ({pitch_name(key)})" for key in (who.lowest_pitch, who.highest_pitch))
    parts = [
        f"# {who.name}",
        *([wrapped(f"**{warning}**")] if warning else []),
        f"A harmonic instrument for General MIDI program {who.program} ({program_name(who.program)}).",
        bullets(
            f"**Plays** keys {low} to {high}, at any sample rate. Velocity, pitch bend, tuning, modulation, volume, "
            f"expression and the pedals act on it. `synthnet render song.mid --instrument {who.name}`",
            f"**Learned from** {clock(outcome['samples_an_epoch'] / rate)} of music at {rate:,} Hz: études of its "
            "whole range (velocities 15 to 127, notes of 10 s and more) and the dances of Bach's Cello Suite no. 1 "
            f"with dynamics. FluidSynth played them with program {corpus['program']} of {corpus['soundfont']}. The "
            "Prelude was held out.",
            f"**Network**: {n_parameters:,} parameters (`synthnet/models/harmonic.py`), kept in half precision, "
            f"{one.path.stat().st_size:,} bytes. The figures are those of single precision.",
            f"**Training**: {training['steps']:,} steps in {clock(one.trained_s)}, commit {outcome['commit']}; "
            f"{machine_line(outcome['machine'])}. `synthnet recipe run recipes/shipped --only instrument={who.name}`",
            "**Licence**: MIT. The sound font FluidR3 GM by Frank Wen is MIT, too.",
        ),
        table(("player", *PLAYER_HEAD), rows),
        "\n".join([PLAYERS_LEGEND, *([NSF_NOTE] if NSF in one.figures else [])]),
        wrapped(f"**Not reached**, in brackets the aim: {'; '.join(missed)}." if missed else "All aims are reached."),
    ]
    return "\n\n".join(parts) + "\n"


def bullets(*texts: str) -> str:
    """A list of texts."""
    return "\n".join(wrapped(f"- {text}", "  ") for text in texts)


def wrapped(text: str, indent: str = "") -> str:
    """A text in lines of at most 120 characters, if its words allow; lines after the first are indented."""
    return textwrap.fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def results_page(recipe: Recipe, finished: Sequence[Finished], missing: Mapping[str, str]) -> str:
    """The table of all instruments, with the means of the paper's seven."""
    seven = [one for one in finished if one.of_the_seven]
    rows = [
        [one.instrument.name, player, *player_cells(one.figures[player])]
        for one in finished
        for player in PLAYERS
        if player in one.figures
    ]
    means = means_of(seven)
    label = "mean of the paper's seven" if len(seven) == len(INSTRUMENTS) else f"mean of {len(seven)} of the seven"
    rows += [[label, player, *player_cells(figures)] for player, figures in means.items()]
    parts = [f"# {recipe.title}", *conclusions_of(finished), *missing_line(missing)]
    parts += [
        table(("instrument", "player", *PLAYER_HEAD), rows),
        "\n".join([PLAYERS_LEGEND, NSF_NOTE]),
        "![RMSE-CQT of all players](figures.png)",
        "```\nsynthnet recipe run recipes/shipped\npython recipes/shipped/ship.py\n```",
    ]
    return "\n\n".join(parts) + "\n"


def missing_line(missing: Mapping[str, str]) -> list[str]:
    """A paragraph on the instruments that are missing; none if none is."""
    waiting = ", ".join(f"{name} ({status})" for name, status in missing.items())
    return [wrapped(f"Missing: {waiting}.")] if missing else []


def conclusions_of(finished: Sequence[Finished]) -> list[str]:
    """What the figures of the paper's seven say, beside what was aimed at, as paragraphs."""
    seven = [one for one in finished if one.of_the_seven]
    if not seven:
        return []
    means = means_of(seven)
    network, texts = means[NETWORK], []
    for part, aims in MEAN_AIMS.items():
        aim = " / ".join(f"{value}" for value in aims)
        others = ", ".join(f"{player} {both_floors(means[player], part)}" for player in PLAYERS[1:] if player in means)
        texts.append(f"On {MUSIC[part]}: {both_floors(network, part)} dB (aim {aim}); {others}.")
    farther = [
        one.instrument.name
        for one in seven
        if NSF in one.figures
        and any(
            one.figures[NETWORK]["pieces_mean"][floor] > one.figures[NSF]["pieces_mean"][floor] + FARTHER_THAN_NSF_DB
            for floor in FLOORS
        )
    ]
    texts.append(
        f"More than {FARTHER_THAN_NSF_DB:g} dB farther than NSF on the pieces: {', '.join(farther) or 'none'}."
    )
    missed = [f"{one.instrument.name} ({'; '.join(found)})" for one in seven if (found := not_reached_by_notes(one))]
    texts.append(f"Single and held notes beyond their aims: {', '.join(missed) or 'none'}.")
    some = "" if len(seven) == len(INSTRUMENTS) else f"{len(seven)} of "
    return [f"Means of {some}the paper's seven instruments:", bullets(*texts)]


def not_reached_by_notes(one: Finished) -> list[str]:
    """The aims for single and held notes that an instrument misses."""
    return [text for text in not_reached(one) if not text.startswith("the ")]


def readme_table(finished: Sequence[Finished]) -> str:
    """The Prelude with dynamics at both floors: a row an instrument, and the means of the paper's seven."""
    seven = [one for one in finished if one.of_the_seven]
    rows = [
        [f"[{one.instrument.name}](synthnet/shipped/{one.instrument.name}.md)", *prelude_cells(one.figures)]
        for one in finished
    ]
    if len(seven) == len(INSTRUMENTS):
        rows.append(["mean of the paper's seven", *prelude_cells(means_of(seven))])
    return table(("Prelude -80 / -50, dB", *PLAYERS), rows)


def prelude_cells(by_player: Mapping[str, Figures]) -> list[str]:
    """The Prelude at both floors, a cell a player."""
    return [both_floors(by_player[player], "prelude") if player in by_player else "" for player in PLAYERS]


def fill(page: Path, inserted: str) -> None:
    """Replace what lies between the two markers of a page; InputError where they are not there."""
    before, begin, rest = page.read_text("utf-8").partition(MARKERS[0])
    _, end, after = rest.partition(MARKERS[1])
    if not begin or not end:
        raise InputError(f"{page}: the markers {' and '.join(MARKERS)} are missing")
    write_text(page, f"{before}{begin}\n{inserted}\n{end}{after}")


# --------------------------------------------------------------------------------------------------- data


def means_of(some: Sequence[Finished]) -> dict[str, Figures]:
    """The mean of each figure over some instruments, by player; players that one of them lacks are left out."""
    means: dict[str, Figures] = {}
    for player in PLAYERS:
        each = [one.figures[player] for one in some if player in one.figures]
        if some and len(each) == len(some):
            means[player] = rounded(
                {
                    part: {name: float(np.mean([figures[part][name] for figures in each])) for name in names}
                    for part, names in PARTS.items()
                }
            )
    return means


def results_json(finished: Sequence[Finished], missing: Mapping[str, str]) -> str:
    """All figures, a line a player, as JSON."""
    lines = []
    for one in finished:
        facts = {
            "program": one.instrument.program,
            "steps": one.checkpoint.training["steps"],
            "trained_s": one.trained_s,
            "bytes": one.path.stat().st_size,
            "sha256": sha256(one.path),
            "commit": one.outcome["commit"],
            "machine": one.outcome["machine"],
            "sample_rate_hz": one.outcome["final"][one.instrument.name]["sample_rate_hz"],
        }
        players = one.outcome["final"][one.instrument.name]["players"]
        listed = ",\n".join("   " + compact(player) for player in players)
        lines.append(f'  {compact(one.instrument.name)}: {compact(facts)[:-1]}, "players": [\n{listed}\n  ]}}')
    means = compact(means_of([one for one in finished if one.of_the_seven]))
    entries = ",\n".join(lines)
    return f'{{\n "missing": {compact(missing)},\n "means": {means},\n "instruments": {{\n{entries}\n }}\n}}\n'


def compact(value: Any) -> str:
    """JSON in one line, rounded."""
    return json.dumps(rounded(value))


def json_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows of a training log, rounded, without what is told twice."""
    kept = ({name: value for name, value in row.items() if name != "train_distance"} for row in rows)
    return "".join(compact(row) + "\n" for row in kept)


def write_text(path: Path, text: str) -> None:
    """Write a text, whole or not at all."""
    with atomic_write(path) as beside:
        beside.write_text(text, "utf-8")
