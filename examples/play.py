"""Play a MIDI file: every track by the instrument that fits it, then all tracks by one.

python examples/play.py song.mid --instrument violin
"""

from __future__ import annotations

import argparse
from pathlib import Path

import synthnet


def main() -> None:
    """Write SONG.wav, and SONG-INSTRUMENT.wav with one instrument for all tracks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("song", type=Path)
    parser.add_argument("--instrument", default="trumpet", help="a name that `synthnet instruments` lists")
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the sound files")
    parser.add_argument("--seconds", type=float, help="how much to play; default: all")
    arguments = parser.parse_args()

    score = synthnet.read_score(arguments.song)
    print(f"{len(score.tracks)} tracks, {len(score.notes)} notes, {score.end_s:.1f} s")
    every = arguments.out / f"{arguments.song.stem}.wav"
    synthnet.render(arguments.song, every, duration_s=arguments.seconds)

    audio = synthnet.load(arguments.instrument).play(score, duration_s=arguments.seconds)
    one = arguments.out / f"{arguments.song.stem}-{arguments.instrument}.wav"
    audio.save(one)
    print(f"listen to {every} and {one}")


if __name__ == "__main__":
    main()
