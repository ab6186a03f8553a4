"""Make docs/hear.md and its sounds: what the recipes' networks play, each beside its reference and a baseline.

    python recipes/hear/hear.py [--runs runs] [--corpora data/corpora]

Rows whose sounds are in docs/media/hear are kept: delete a row's files to make it anew. The horn and the harp of the
recipe `new_instrument` are taken from --runs, the corpora of the recipe `recordings` from --corpora. SynthNet L24 takes
some minutes.

A row has one gain for all its sounds, which brings the reference to -20 LUFS where a peak of -1 dBFS allows it. Figures
are measured before the sounds are coded in Ogg Vorbis.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synthnet.audio.files import write_audio
from synthnet.corpus.corpus import read_corpus
from synthnet.corpus.teacher import FLUIDR3, Teacher, find_soundfont
from synthnet.evaluation.baselines import StaticPlayer, harmonic_play, harmonic_players
from synthnet.evaluation.cqt import rmse_cqt_at_floors
from synthnet.evaluation.level import fitted_level
from synthnet.evaluation.measure import PRELUDE
from synthnet.experiments.results import write_text
from synthnet.generation.library import SHIPPED, Library, Seat, read_file, read_library
from synthnet.generation.render import Settings, render_in_memory
from synthnet.models.checkpoint import load_checkpoint
from synthnet.score.dynamics import add_dynamics
from synthnet.score.general_midi import KNOWN_INSTRUMENTS, find_instrument
from synthnet.score.midi import read_score
from synthnet.score.notes import Score, Track
from synthnet.text import wrapped

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "recipes" / "band"))
from measure import loudness, play_midi, small_soundfont  # noqa: E402
from songs import SONGS, write_song  # noqa: E402

PAGE, SOUNDS = ROOT / "docs" / "hear.md", ROOT / "docs" / "media" / "hear"
RATE_HZ = 44_100
SOLO_S, BAND_S, BAND_START_S = 7.0, 7.0, 8.0
RECORDED, RECORDED_START_S = ("violin-garner", "piano-ishizaka"), 8.0
REFERENCE_LUFS, PEAK = -20.0, 0.89
LARGEST_BYTES = 6_000_000  # of all sounds of docs/ together
SYNTHNET = "trumpet-synthnet"
Sounds = dict[str, np.ndarray]  # by player, the reference first


@dataclass(frozen=True)
class Row:
    """A piece of music and who plays it."""

    name: str
    section: str
    make: Callable[[], Sounds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="with french-horn-harmonic and harp-harmonic")
    parser.add_argument("--corpora", type=Path, default=Path("data/corpora"), help="folder of the recordings' corpora")
    given, library = parser.parse_args(), read_library(Path("nowhere"), SHIPPED)
    rows = solo_rows(library) + recorded_rows(given.corpora) + new_rows(given.runs) + band_rows(library)
    kept = SOUNDS / "figures.json"
    figures = json.loads(kept.read_text()) if kept.exists() else {}
    for number, row in enumerate(rows, 1):
        if row.name in figures and all((SOUNDS / f"{row.name}-{slug(who)}.ogg").exists() for who in figures[row.name]):
            continue
        print(f"{number} of {len(rows)}: {row.name}", flush=True)
        figures[row.name] = save_row(row.name, row.make())
        write_text(kept, json.dumps(figures, indent=1) + "\n")
    write_text(PAGE, page(rows, figures))
    total = sum(path.stat().st_size for path in SOUNDS.parent.rglob("*") if path.suffix in (".ogg", ".flac"))
    print(f"{PAGE}: {total / 1e6:.2f} MB of sound")
    if total > LARGEST_BYTES:
        sys.exit(f"more than {LARGEST_BYTES / 1e6:g} MB")


def solo_rows(library: Library) -> list[Row]:
    """Each shipped instrument on the Prelude with dynamics, and the trumpets on the Prelude as it is written."""
    plain = read_score(PRELUDE).excerpt(0.0, SOLO_S)
    dynamic = add_dynamics(read_score(PRELUDE)).excerpt(0.0, SOLO_S)

    def of(name: str) -> Row:
        return Row(name, "solo", lambda: solo(library.seat(name), find_instrument(name).program, dynamic))

    def trumpets() -> Sounds:
        sounds = solo(library.seat("trumpet"), 56, plain)
        return {"reference": sounds["reference"], "SynthNet L24": play(library.seat(SYNTHNET), plain)} | sounds

    return [Row("synthnet", "synthnet", trumpets), *(of(who.name) for who in KNOWN_INSTRUMENTS)]


def recorded_rows(corpora: Path) -> list[Row]:
    """The instruments that were learned from recordings, on the notes of the recording that was held out."""
    start, stop = round(RECORDED_START_S * RATE_HZ), round((RECORDED_START_S + SOLO_S) * RATE_HZ)

    def heard(name: str) -> Sounds:
        corpus = read_corpus(corpora / f"{name}-{RATE_HZ}-wide")
        (piece,) = corpus.split("valid")
        players = harmonic_players(load_checkpoint(SHIPPED / f"{name}.safetensors"), corpus)
        sounds = {who: play(corpus.read_notes(piece), stop, RATE_HZ)[start:] for who, play in players.items()}
        recording = corpus.read_audio(piece)[start:stop]
        return {"reference": recording, "harmonic instrument": sounds.pop("network")} | sounds

    return [Row(name, "recorded", lambda name=name: heard(name)) for name in RECORDED]  # type: ignore[misc]


def new_rows(runs: Path) -> list[Row]:
    """The instruments that were learned in eight minutes, the Prelude as it is written."""
    plain = read_score(PRELUDE).excerpt(0.0, SOLO_S)

    def of(name: str, program: int) -> Row:
        path = runs / f"{name}-harmonic" / "best.safetensors"
        return Row(name, "new", lambda: solo(read_file(path).seat(name), program, plain))

    return [of("french-horn", 60), of("harp", 46)]


def solo(seat: Seat, program: int, score: Score) -> Sounds:
    """The teacher, a harmonic instrument and its static partials."""
    teacher = Teacher(find_soundfont(), program, RATE_HZ)
    notes = teacher.snap(score.notes)
    static = harmonic_play(seat.checkpoint, StaticPlayer)(notes, round(SOLO_S * RATE_HZ), RATE_HZ)
    return {
        "reference": teacher.play(notes, SOLO_S),
        "harmonic instrument": play(seat, Score((Track(notes),))),
        "static partials": static * np.float32(seat.level),
    }


def play(seat: Seat, score: Score) -> np.ndarray:
    """Samples [n] of an instrument, in mono."""
    return render_in_memory([seat] * len(score.tracks), score, Settings(RATE_HZ, SOLO_S, mono=True)).samples


def band_rows(library: Library) -> list[Row]:
    """The songs of the recipe `band`, drums and effects muted, each at the level of the reference."""

    def song(name: str) -> Sounds:
        n_samples = round((BAND_START_S + BAND_S) * RATE_HZ)
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / f"{name}.mid"
            write_song(name, path)
            score = read_score(path, drums=True)
            sounds = {
                "reference": play_midi(FLUIDR3, path, None, n_samples),
                "rendering": render_in_memory(
                    library.assign(score), score, Settings(RATE_HZ, BAND_START_S + BAND_S, mono=True)
                ).samples,
                "TimGM6mb": play_midi(small_soundfont(), path, None, n_samples),
            }
        late = {who: sound[round(BAND_START_S * RATE_HZ) :] for who, sound in sounds.items()}
        return {who: fitted_level(late["reference"], sound) for who, sound in late.items()}

    return [Row(name, "band", lambda name=name: song(name)) for name in SONGS]  # type: ignore[misc]


def save_row(name: str, sounds: Sounds) -> dict[str, list[float] | None]:
    """Write the sounds of a row; RMSE-CQT of each at both floors, None for the reference."""
    reference = sounds["reference"]
    peak = max(float(np.abs(sound).max()) for sound in sounds.values())
    gain = min(10 ** ((REFERENCE_LUFS - loudness(reference)) / 20), PEAK / peak)
    figures: dict[str, list[float] | None] = {}
    for who, sound in sounds.items():
        measured = None if who == "reference" else rmse_cqt_at_floors(reference, sound, RATE_HZ).mean(axis=1)
        figures[who] = None if measured is None else [round(float(figure), 2) for figure in measured]
        write_audio(SOUNDS / f"{name}-{slug(who)}.ogg", sound * np.float32(gain), RATE_HZ)
    return figures


def slug(player: str) -> str:
    """The player's name in that of a file."""
    return player.lower().replace(" ", "-")


HEADINGS = {
    "solo": "## The shipped instruments\n\nThe Prelude of BWV 1007, which was held out, with velocities 40 to 115.",
    "synthnet": "## The paper's network\n\nThe Prelude as it is written, with one velocity. SynthNet L24 is at 16 kHz.",
    "recorded": (
        "## Learned from recordings\n\n"
        "The references are excerpts, changed in level only, of recordings that were held out: Bach's Partita BWV "
        "1002, Sarabande's Double, by **John Garner** (Musopen, [CC BY 3.0](https://creativecommons.org/licenses/by/3.0/))"
        ", and the Prelude BWV 847 by **Kimiko Ishizaka** (Open Well-Tempered Clavier, CC0 1.0), left channel. "
        "Networks and samplers come from their other recordings and play the same notes. Over the whole pieces: "
    ),
    "new": "## Learned in eight minutes\n\nFrom the recipe `new_instrument`: the Prelude as it is written.",
    "band": "## In a band\n\nSongs of the recipe `band`, at the level of the reference. Drums and effects are muted.",
}


def over_whole_piece(name: str) -> str:
    """The figures of an instrument that was learned from recordings, over the whole piece that was held out."""
    found = json.loads((ROOT / "recipes" / "recordings" / "results" / f"{name}.json").read_text())
    players = {"network": "", "sampler": "sampler ", "static partials": "static partials "}
    cells = (
        said + cell([found[who]["rmse_cqt_db"], found[who]["rmse_cqt_50_db"]]) + " dB" for who, said in players.items()
    )
    return f"{name} {', '.join(cells)}"


def page(rows: list[Row], figures: dict[str, dict[str, list[float] | None]]) -> str:
    """The page: the conclusion, then a table a section."""
    recorded = json.loads((ROOT / "recipes" / "shipped" / "results" / "results.json").read_text())["instruments"]
    preludes = {
        name: {one["player"]: one["prelude"]["rmse_cqt_db"] for one in of["players"]} for name, of in recorded.items()
    }
    beaten = [name for name, of in preludes.items() if of["sampler"] < of["network"]]
    excerpt = [figures[row.name] for row in rows if row.section == "solo"]
    mean = {who: np.mean([one[who] for one in excerpt], axis=0) for who in ("harmonic instrument", "static partials")}
    text = [
        "# Hear it",
        "",
        wrapped(
            "On the whole Prelude a sampler cut from the training recordings is nearer to the teacher for "
            f"{joined(beaten)} (floor at -80 dB; all figures are in `recipes/shipped/results/results.md`). On the "
            f"{SOLO_S:g} s below, the harmonic instruments have {cell(mean['harmonic instrument'])} dB in the mean, "
            f"static partials {cell(mean['static partials'])} dB."
        ),
        "",
        wrapped(
            "The reference comes first. If nothing else is said, it is FluidR3 GM through FluidSynth, which taught the "
            "instruments. Figures are RMSE-CQT from it in dB, floors at -80 / -50 dB, of what is heard here; 0 is "
            "equal. Each links to its file. A row has one gain for all its sounds."
        ),
    ]
    for section, heading in HEADINGS.items():
        here = [row for row in rows if row.section == section]
        players = list(figures[here[0].name])
        if section == "recorded":
            heading += "; ".join(map(over_whole_piece, RECORDED)) + "."
        title, _, words = heading.partition("\n\n")
        text += ["", title, "", wrapped(words), "", f"| | {' | '.join(players)} |", f"|---|{'---|' * len(players)}"]
        for row in here:
            title = "trumpet" if section == "synthnet" else row.name
            sounds = [sound(row.name, who, figures[row.name][who]) for who in players]
            text.append(f"| {title} | {' | '.join(sounds)} |")
    return "\n".join([*text, "", "`python recipes/hear/hear.py` makes this page and its sounds.", ""])


def sound(row: str, who: str, figures: list[float] | None) -> str:
    """A cell: the player of a sound over a link to its file, named by its figures."""
    file = f"media/hear/{row}-{slug(who)}.ogg"
    caption = who if figures is None else cell(figures)
    label = f"{row}, {who}"
    return f'<audio controls preload="none" aria-label="{label}" src="../{file}"></audio><br>[{caption}]({file})'


def cell(figures: Sequence[float] | np.ndarray) -> str:
    """Two figures of RMSE-CQT."""
    return f"{figures[0]:.2f} / {figures[1]:.2f}"


def joined(names: list[str]) -> str:
    """Names as text."""
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names) or "none"


if __name__ == "__main__":
    main()
