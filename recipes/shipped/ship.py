"""Turn the finished runs of this recipe into what ships: checkpoints, cards, results, and the table of the README.

python recipes/shipped/ship.py [RUNS]

RUNS is the folder that `synthnet recipe run recipes/shipped` writes to, by default runs/recipes.

    synthnet/shipped/NAME.safetensors   weights in half precision, the figures in the header
    synthnet/shipped/NAME.md            the card
    recipes/shipped/results/            results.json, results.md, figures.png, training/NAME.jsonl

The same runs give the same files. Instruments whose runs are not finished are listed and stay as they are.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from synthnet.evaluation.charts import plot_players
from synthnet.evaluation.measure import player_cells
from synthnet.experiments.machine import Machine
from synthnet.experiments.recipe import Recipe, read_recipe
from synthnet.experiments.results import FINISHED, Outcome, table, trained_seconds, write_text
from synthnet.files import InputError, sha256
from synthnet.models.checkpoint import Checkpoint, halved, load_checkpoint, save_checkpoint
from synthnet.models.config import MEASURED
from synthnet.score.general_midi import INSTRUMENTS, MidiInstrument, find_instrument, pitch_name, program_name
from synthnet.text import bullets, clock, wrapped
from synthnet.training.run import training_rows

LARGEST_BYTES = 1_000_000
NETWORK, NSF, SAMPLER, STATIC = "network", "NSF", "sampler", "static partials"
PLAYERS = (NETWORK, STATIC, SAMPLER, NSF)
MARKERS = "<!-- figures -->", "<!-- /figures -->"  # what lies between them in a page is written here

DISTANCES = ("rmse_cqt_db", "rmse_cqt_50_db", "log_spectral_db")
PARTS = {
    "prelude": DISTANCES,
    "pieces_mean": DISTANCES,
    "levels": ("worst_level_db", "worst_centroid"),
    "held": ("worst_db",),
}
PLAYER_HEAD = ("player", "Prelude -80 / -50", "spectra", "pieces -80 / -50", "spectra", "levels", "centroid", "held")
MUSIC = {"prelude": "the Prelude", "pieces_mean": "the pieces"}
FLOORS = {"rmse_cqt_db": "-80 dB", "rmse_cqt_50_db": "-50 dB"}

# The aims for distances are for the mean over the paper's seven instruments, the others hold for each instrument.
MEAN_AIMS = {"prelude": (7.8, 5.8), "pieces_mean": (8.0, 4.5)}
LEVEL_AIM_DB, CENTROID_AIM, HELD_AIM_DB = 3.0, 0.10, 3.0
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

Figures = Mapping[str, Mapping[str, float]]  # of a player: the figures of PARTS


@dataclass(frozen=True)
class Finished:
    """An instrument whose run is finished.

    Attributes:
        outcome: the run's run.json.
        rows: of its metrics.jsonl.
        checkpoint: as it was trained.
        path: of the checkpoint that ships.
        figures: by player; of the paper's seven instruments that of NSF, too.
    """

    instrument: MidiInstrument
    outcome: Outcome
    rows: Sequence[Mapping[str, Any]]
    checkpoint: Checkpoint
    path: Path
    figures: Mapping[str, Figures]

    @property
    def name(self) -> str:
        return self.instrument.name


def ship(recipe: Recipe, out: Path, shipped: Path, results: Path, readme: Path | None = None) -> list[str]:
    """Write all files for the runs that are finished; return the instruments that are missing, a line each.

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
        folder, name = run.folder(out), run.instrument
        outcome = Outcome.read(folder)
        if outcome.status != FINISHED:
            missing[name] = str(outcome.status)
            continue
        players = {player["player"]: player for player in outcome.final[name]["players"]}
        if name in nsf:
            players[NSF] = nsf[name][NSF]  # the sampler in that file is another one
        finished.append(
            Finished(
                instrument=find_instrument(name),
                outcome=outcome,
                rows=training_rows(folder),
                checkpoint=load_checkpoint(folder / "last.safetensors"),
                path=shipped / f"{name}.safetensors",
                figures={player: chosen(players[player]) for player in PLAYERS if player in players},
            )
        )
    for one in finished:
        save_checkpoint(one.path, packed(one))
        if one.path.stat().st_size >= LARGEST_BYTES:
            raise InputError(f"{one.path}: {one.path.stat().st_size:,} bytes, at most {LARGEST_BYTES:,} may ship")
        write_text(one.path.with_suffix(".md"), card(one))
        rows = [{name: value for name, value in row.items() if name != "train_distance"} for row in one.rows]
        write_text(results / "training" / f"{one.name}.jsonl", "".join(compact(row) + "\n" for row in rows))
    write_text(results / "results.json", results_json(finished, missing))
    write_text(results / "results.md", results_page(recipe.title, finished, missing))
    if finished:
        by_instrument = {one.name: one.figures for one in finished}
        plot_players(results / "figures.png", by_instrument, PLAYERS, "RMSE-CQT on the Prelude with dynamics, dB")
        if readme is not None:
            fill(readme, readme_table(finished))
    if (page := recipe.folder / "README.md").exists():
        fill(page, "\n\n".join(conclusions_of(finished, missing)) or "Not measured yet.")
    return [f"{name}: {status}" for name, status in missing.items()]


def packed(one: Finished) -> Checkpoint:
    """The checkpoint as it ships: learned weights in half precision, and the figures in the header."""
    measured = {player: figures for player, figures in one.figures.items() if player != NSF}
    made = {name: one.outcome.facts[name] for name in ("machine", "commit")}
    return replace(
        halved(one.checkpoint),
        training={**one.checkpoint.training, **made},
        figures={**one.checkpoint.figures, "measured": {one.name: measured}},
    )


def fill(page: Path, inserted: str) -> None:
    """Replace the text between the two markers of a page; InputError where they are not there."""
    before, begin, rest = page.read_text("utf-8").partition(MARKERS[0])
    _, end, after = rest.partition(MARKERS[1])
    if not begin or not end:
        raise InputError(f"{page}: the markers {' and '.join(MARKERS)} are missing")
    write_text(page, f"{before}{begin}\n{inserted}\n{end}{after}")


# ------------------------------------------------------------------------------------------------- figures


def rounded(value: Any) -> Any:
    """Plain values with numbers to a thousandth."""
    return json.loads(json.dumps(value), parse_float=lambda text: round(float(text), 3))


def compact(value: Any) -> str:
    """JSON in one line, rounded."""
    return json.dumps(rounded(value))


def chosen(figures: Mapping[str, Any]) -> Figures:
    """The figures of PARTS, out of all that were measured."""
    found: Figures = rounded({part: {name: figures[part][name] for name in names} for part, names in PARTS.items()})
    return found


def seven_of(finished: Sequence[Finished]) -> list[Finished]:
    """The paper's instruments among them."""
    return [one for one in finished if one.instrument in INSTRUMENTS]


def means_of(some: Sequence[Finished]) -> dict[str, Figures]:
    """The mean of each figure over some instruments, by player; players that one of them lacks are left out."""
    means = {}
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
    entries = []
    for one in finished:
        final, facts = one.outcome.final[one.name], one.outcome.facts
        about = {
            "program": one.instrument.program,
            "steps": one.checkpoint.training["steps"],
            "trained_s": trained_seconds(one.rows),
            "bytes": one.path.stat().st_size,
            "sha256": sha256(one.path),
            "commit": facts["commit"],
            "machine": facts["machine"],
            "sample_rate_hz": final["sample_rate_hz"],
        }
        players = ",\n".join("   " + compact(player) for player in final["players"])
        entries.append(f'  {compact(one.name)}: {compact(about)[:-1]}, "players": [\n{players}\n  ]}}')
    head = f' "missing": {compact(missing)},\n "means": {compact(means_of(seven_of(finished)))},\n'
    return "{\n" + head + ' "instruments": {\n' + ",\n".join(entries) + "\n }\n}\n"


# --------------------------------------------------------------------------------------------------- text


def both_floors(figures: Figures, part: str) -> str:
    """RMSE-CQT at both floors."""
    return " / ".join(f"{figures[part][floor]:.2f}" for floor in FLOORS)


def nearer_baselines(one: Finished) -> str:
    """A sentence on the baselines that are nearer to the teacher than the network; empty if none is."""
    network, found = one.figures[NETWORK], []
    for baseline, what in ((STATIC, "The static partials are"), (SAMPLER, "The sampler is")):
        theirs = one.figures[baseline]
        where = [
            f"{theirs[part][floor]:.2f} against {network[part][floor]:.2f} dB on {music} at {text}"
            for part, music in MUSIC.items()
            for floor, text in FLOORS.items()
            if theirs[part][floor] < network[part][floor]
        ]
        if where:
            found.append(f"{what} nearer to the teacher than the network: {', '.join(where)}.")
    return " ".join(found)


def distances_missed(one: Finished) -> list[str]:
    """The aims for distances that an instrument misses, a text each."""
    return [
        f"{MUSIC[part]} at {text}: {value:.2f} dB (mean of the seven: {aim})"
        for part, aims in MEAN_AIMS.items()
        for (floor, text), aim in zip(FLOORS.items(), aims, strict=True)
        if (value := one.figures[NETWORK][part][floor]) > aim
    ]


def notes_missed(one: Finished) -> list[str]:
    """The aims for single and held notes that an instrument misses, a text each."""
    levels, held = one.figures[NETWORK]["levels"], one.figures[NETWORK]["held"]["worst_db"]
    missed = []
    if levels["worst_level_db"] > LEVEL_AIM_DB:
        missed.append(f"level of single notes: {levels['worst_level_db']:.1f} dB ({LEVEL_AIM_DB:g})")
    if levels["worst_centroid"] > CENTROID_AIM:
        missed.append(f"spectral centroid: {levels['worst_centroid']:.0%} ({CENTROID_AIM:.0%})")
    if held > HELD_AIM_DB:
        missed.append(f"held notes: {held:.1f} dB ({HELD_AIM_DB:g})")
    return missed


def card(one: Finished) -> str:
    """The model card, a page."""
    who, facts, training = one.instrument, one.outcome.facts, one.checkpoint.training
    corpus, rate = facts["corpora"][0], one.checkpoint.sample_rate_hz
    machine = Machine(**{field.name: facts["machine"][field.name] for field in fields(Machine)})  # without precision
    n_parameters = sum(value.size for name, value in one.checkpoint.weights.items() if name not in MEASURED)
    warning, missed = nearer_baselines(one), distances_missed(one) + notes_missed(one)
    low, high = (f"{key} ({pitch_name(key)})" for key in (who.lowest_pitch, who.highest_pitch))
    parts = [
        f"# {who.name}",
        *([wrapped(f"**{warning}**")] if warning else []),
        f"A harmonic instrument for General MIDI program {who.program} ({program_name(who.program)}).",
        bullets(
            f"**Plays** keys {low} to {high}, at any sample rate. Velocity, pitch bend, tuning, modulation, volume, "
            f"expression and the pedals act on it. `synthnet render song.mid --instrument {who.name}`",
            f"**Learned from** {clock(facts['samples_an_epoch'] / rate)} of music at {rate:,} Hz: études of its "
            "whole range (velocities 15 to 127, notes of 10 s and more) and the dances of Bach's Cello Suite no. 1 "
            f"with dynamics. FluidSynth played them with program {corpus['program']} of {corpus['soundfont']}. The "
            "Prelude was held out.",
            f"**Network**: {n_parameters:,} parameters (`synthnet/models/harmonic.py`), kept in half precision, "
            f"{one.path.stat().st_size:,} bytes. The figures are those of single precision.",
            f"**Training**: {training['steps']:,} steps in {clock(trained_seconds(one.rows))}, commit {facts['commit']}"
            f"; {machine}. `synthnet recipe run recipes/shipped --only instrument={who.name}`",
            "**Licence**: MIT. The sound font FluidR3 GM by Frank Wen is MIT, too.",
        ),
        table(PLAYER_HEAD, [[player, *player_cells(figures)] for player, figures in one.figures.items()]),
        "\n".join([PLAYERS_LEGEND, *([NSF_NOTE] if NSF in one.figures else [])]),
        wrapped(f"**Not reached**, in brackets the aim: {'; '.join(missed)}." if missed else "All aims are reached."),
    ]
    return "\n\n".join(parts) + "\n"


def results_page(title: str, finished: Sequence[Finished], missing: Mapping[str, str]) -> str:
    """The table of all instruments, with the means of the paper's seven."""
    seven = seven_of(finished)
    label = "mean of the paper's seven" if len(seven) == len(INSTRUMENTS) else f"mean of {len(seven)} of the seven"
    named = [*((one.name, one.figures) for one in finished), (label, means_of(seven))]
    rows = [
        [name, player, *player_cells(figures)] for name, by_player in named for player, figures in by_player.items()
    ]
    parts = [
        f"# {title}",
        *conclusions_of(finished, missing),
        table(("instrument", *PLAYER_HEAD), rows),
        "\n".join([PLAYERS_LEGEND, NSF_NOTE]),
        "![RMSE-CQT of all players](figures.png)",
        "```\nsynthnet recipe run recipes/shipped\npython recipes/shipped/ship.py\n```",
    ]
    return "\n\n".join(parts) + "\n"


def conclusions_of(finished: Sequence[Finished], missing: Mapping[str, str]) -> list[str]:
    """The figures of the paper's seven beside the aims, and the instruments that are missing, as paragraphs."""
    seven, paragraphs = seven_of(finished), []
    if seven:
        means, texts = means_of(seven), []
        for part, aims in MEAN_AIMS.items():
            others = [
                f"{player} {both_floors(figures, part)}" for player, figures in means.items() if player != NETWORK
            ]
            texts.append(
                f"On {MUSIC[part]}: {both_floors(means[NETWORK], part)} dB (aim {aims[0]} / {aims[1]}); "
                f"{', '.join(others)}."
            )
        farther = [
            one.name
            for one in seven
            if NSF in one.figures
            and any(
                one.figures[NETWORK]["pieces_mean"][floor]
                > one.figures[NSF]["pieces_mean"][floor] + FARTHER_THAN_NSF_DB
                for floor in FLOORS
            )
        ]
        missed = [f"{one.name} ({'; '.join(notes_missed(one))})" for one in seven if notes_missed(one)]
        texts += [
            f"More than {FARTHER_THAN_NSF_DB:g} dB farther than NSF on the pieces: {', '.join(farther) or 'none'}.",
            f"Single and held notes beyond their aims: {', '.join(missed) or 'none'}.",
        ]
        some = "" if len(seven) == len(INSTRUMENTS) else f"{len(seven)} of "
        paragraphs += [f"Means of {some}the paper's seven instruments:", bullets(*texts)]
    if missing:
        waiting = ", ".join(f"{name} ({status})" for name, status in missing.items())
        paragraphs.append(wrapped(f"Missing: {waiting}."))
    return paragraphs


def readme_table(finished: Sequence[Finished]) -> str:
    """The Prelude with dynamics at both floors: a row for each of the paper's seven instruments, and their means."""
    seven = seven_of(finished)
    named = [(f"[{one.name}](synthnet/shipped/{one.name}.md)", one.figures) for one in seven]
    if len(seven) == len(INSTRUMENTS):
        named.append(("mean of the paper's seven", means_of(seven)))
    rows = [
        [name, *(both_floors(figures[player], "prelude") if player in figures else "" for player in PLAYERS)]
        for name, figures in named
    ]
    return table(("Prelude -80 / -50, dB", *PLAYERS), rows)


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    clone = here.parents[1]
    runs = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/recipes")
    for line in ship(read_recipe(here), runs, clone / "synthnet" / "shipped", here / "results", clone / "README.md"):
        print(f"missing: {line}")
