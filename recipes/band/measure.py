"""Songs of several tracks: how near `synthnet render` is to FluidSynth playing the same, beside a small sound font.

    python recipes/band/measure.py [--songs pop,chamber,fifteen] [--out recipes/band/results]

The reference is FluidSynth with FluidR3 GM, the baseline FluidSynth with TimGM6mb, which comes with pretty_midi. Both
play the MIDI file themselves, with its volumes and expression, without reverb and chorus. Drums and effects are muted
in all three, and no sound font plays in the rendering. Mixes are in mono, the mean of left and right, and pan is left
out: most presets are pairs of samples at the far left and right, and FluidSynth moves either until it stops at its
end, so that a track on a side becomes louder by 1 to 2 dB. Mixes are compared after one gain for each song that brings
them to the root mean square of the reference. A track's loudness is integrated (ITU-R BS.1770-4), with the gain of its
song.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import mido
import numpy as np
from songs import SONGS, write_song

from synthnet.audio.meters import Loudness
from synthnet.corpus.teacher import BLOCK, FLUIDR3, fill, find_soundfont, new_synth
from synthnet.evaluation.cqt import rmse_cqt_at_floors
from synthnet.evaluation.level import fitted_level, level_difference_db
from synthnet.evaluation.plots import plot_song
from synthnet.experiments.results import table, write_text
from synthnet.generation.library import SHIPPED, read_library
from synthnet.generation.render import Settings, play_parts
from synthnet.score.controllers import PAN
from synthnet.score.general_midi import UNPITCHED, program_name
from synthnet.score.midi import read_score

RATE_HZ = 44_100
PLAYERS = ("rendering", "TimGM6mb")
COMMAND = "python recipes/band/measure.py"


def play_midi(soundfont: Path, song: Path, track: int | None, n_samples: int) -> np.ndarray:
    """Samples [n] of a MIDI file, or of one of its tracks, by FluidSynth; drums and effects are muted."""
    synth = new_synth(RATE_HZ)
    stereo = np.zeros((-(-n_samples // BLOCK) * BLOCK, 2), np.float32)
    try:
        font, midi, programs = synth.sfload(str(soundfont)), mido.MidiFile(song), dict[int, int]()
        if track is not None:
            midi.tracks = [midi.tracks[0], midi.tracks[track]]  # the first has the tempo
        time_s, now = 0.0, 0
        for message in midi:
            time_s += message.time
            if message.is_meta or message.channel == 9:
                continue
            block = min(round(time_s * RATE_HZ / BLOCK), len(stereo) // BLOCK)
            fill(synth, stereo[now * BLOCK : block * BLOCK])
            now = block
            if message.type == "program_change":
                programs[message.channel] = message.program
                synth.program_select(message.channel, font, 0, message.program)
            elif message.type == "control_change" and message.control != PAN:
                synth.cc(message.channel, message.control, message.value)
            elif message.type == "note_on" and programs[message.channel] not in UNPITCHED:
                synth.noteon(message.channel, message.note, message.velocity)
            elif message.type == "note_off" and programs[message.channel] not in UNPITCHED:
                synth.noteoff(message.channel, message.note)
        fill(synth, stereo[now * BLOCK :])
    finally:
        synth.delete()
    return stereo[:n_samples].mean(axis=1)


def loudness(samples: np.ndarray) -> float:
    """Integrated loudness of samples [n] in LUFS."""
    meter = Loudness(RATE_HZ, 1)
    meter.add(samples[:, None])
    return meter.read()


def measure(name: str, folder: Path) -> dict[str, Any]:
    """All figures of a song; its picture goes to `folder`."""
    with tempfile.TemporaryDirectory() as place:
        song = Path(place) / f"{name}.mid"
        write_song(name, song)
        score = read_score(song, drums=True)
        seats = read_library(Path("nowhere"), SHIPPED).assign(score)
        mixer = play_parts(seats, score, Settings(RATE_HZ, mono=True))
        stems = np.concatenate(list(mixer.blocks()), axis=1)[:, :, 0]
        fonts = {"reference": FLUIDR3, "TimGM6mb": small_soundfont()}
        named = [track.name for track in mido.MidiFile(song).tracks]
        order, n_samples = [named.index(part.name) for part in score.parts], stems.shape[1]
        tracks = {
            player: np.stack([play_midi(font, song, number, n_samples) for number in order])
            for player, font in fonts.items()
        }
        tracks["rendering"] = stems
        mixes = {player: play_midi(font, song, None, n_samples) for player, font in fonts.items()}
        mixes["rendering"] = stems.sum(axis=0)
    reference = mixes["reference"]
    gains_db = {player: -level_difference_db(reference, mixes[player]) for player in PLAYERS}
    fitted = {player: fitted_level(reference, mixes[player]) for player in PLAYERS}
    figures = {}
    for player in PLAYERS:
        at_80, at_50 = rmse_cqt_at_floors(reference, fitted[player], RATE_HZ).mean(axis=1).tolist()
        figures[player] = {"rmse_cqt_db": at_80, "rmse_cqt_50_db": at_50, "gain_db": gains_db[player]}
    rows, played = [], []
    for number, (part, seat) in enumerate(zip(score.parts, seats, strict=True)):
        if seat:
            played.append(part.notes)
            theirs = loudness(tracks["reference"][number])
            apart = {player: loudness(tracks[player][number]) + gains_db[player] - theirs for player in PLAYERS}
            about = {"track": part.name, "program": part.program, "what": program_name(part.program)}
            rows.append({**about, "by": seat.voice.name, "loudness_db": apart})
    mine = figures["rendering"]
    title = f"{name}   ·   RMSE-CQT {mine['rmse_cqt_db']:.1f} / {mine['rmse_cqt_50_db']:.1f} dB from FluidR3"
    plot_song(folder / f"{name}.png", fitted["rendering"], RATE_HZ, played, title, reference)
    return {
        "song": name,
        "seconds": n_samples / RATE_HZ,
        "notes": sum(len(part.notes) for part in score.parts),
        "played": sum(map(len, played)),
        **figures,
        "tracks": rows,
    }


def small_soundfont() -> Path:
    """TimGM6mb of pretty_midi."""
    import pretty_midi

    return find_soundfont(Path(pretty_midi.__file__).parent / "TimGM6mb.sf2")


def as_markdown(songs: list[dict[str, Any]]) -> str:
    """The page of the results, its conclusion first."""

    def mean(player: str, key: str) -> float:
        return float(np.mean([song[player][key] for song in songs]))

    def most(player: str) -> float:
        return max(abs(row["loudness_db"][player]) for song in songs for row in song["tracks"])

    ours, theirs = ([mean(player, key) for key in ("rmse_cqt_db", "rmse_cqt_50_db")] for player in PLAYERS)
    nearer = (
        "farther from FluidR3 than",
        "at one floor nearer to FluidR3 and at the other farther from it than",
        "nearer to FluidR3 than",
    )[sum(mine < other for mine, other in zip(ours, theirs, strict=True))]
    tracks = [row for song in songs for row in song["tracks"]]
    within, within_theirs = (sum(abs(row["loudness_db"][player]) <= 2 for row in tracks) for player in PLAYERS)
    share = sum(song["played"] for song in songs) / sum(song["notes"] for song in songs)
    figures = [f"{ours[0]:.1f} / {ours[1]:.1f} dB", f"TimGM6mb {theirs[0]:.1f} / {theirs[1]:.1f} dB"]
    lines = [
        "# In a band",
        "",
        f"**A rendering is {nearer} another General MIDI sound font: {', '.join(figures)}**",
        "(RMSE-CQT, floors at -80 / -50 dB, mean of the songs).",
        f"Of {len(tracks)} tracks {within} are within 2 dB of FluidR3's loudness, of TimGM6mb's {within_theirs};",
        f"the farthest are {most('rendering'):.1f} and {most('TimGM6mb'):.1f} dB off.",
        f"Networks play {share:.0%} of all notes; the rest are drums and effects, muted here in all.",
        "",
    ]
    rows = []
    for song in songs:
        cells = [f"{song[player]['rmse_cqt_db']:.2f} / {song[player]['rmse_cqt_50_db']:.2f}" for player in PLAYERS]
        played = f"{song['played']} of {song['notes']} ({song['played'] / song['notes']:.0%})"
        rows.append([f"[{song['song']}]({song['song']}.png)", played, *cells])
    lines += [
        table(["song", "notes that networks play", *(f"{player} -80 / -50, dB" for player in PLAYERS)], rows),
        "",
        "How much louder than FluidR3's each track is (integrated loudness, after one gain for each song):",
        "",
        "| song | track | program | played by | rendering, dB | TimGM6mb, dB |",
        "|---|---|---|---|---:|---:|",
    ]
    for song in songs:
        for row in song["tracks"]:
            apart = " | ".join(f"{row['loudness_db'][player]:+.1f}" for player in PLAYERS)
            lines.append(
                f"| {song['song']} | {row['track']} | {row['program']} {row['what']} | {row['by']} | {apart} |"
            )
    gains = ", ".join(
        f"{song['song']} {song['rendering']['gain_db']:+.1f} / {song['TimGM6mb']['gain_db']:+.1f} dB" for song in songs
    )
    lines += ["", f"Gains of the songs, rendering / TimGM6mb: {gains}.", "", f"Made by `{COMMAND}`.", ""]
    return "\n".join(lines)


def main() -> None:
    """Measure the songs and write the page, the figures and the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", default=",".join(SONGS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    songs = [measure(name, arguments.out) for name in arguments.songs.split(",")]
    write_text(arguments.out / "results.json", json.dumps(songs, indent=1) + "\n")
    write_text(arguments.out / "results.md", as_markdown(songs))
    print(as_markdown(songs))


if __name__ == "__main__":
    main()
