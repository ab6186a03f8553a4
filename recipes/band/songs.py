"""Three songs of several tracks, composed by this code: pop.mid, chamber.mid, fifteen.mid.

    python recipes/band/songs.py FOLDER

Each is about 40 s long. Harmony, rhythm and form are written out here; ornaments and velocities are drawn from a seed.
Tracks have places (pan), volumes and, where they are held, swells of expression.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import mido

TICKS = 480
MAJOR = (0, 2, 4, 5, 7, 9, 11)


@dataclass
class Part:
    """A track: notes (beat, beats, key, velocity) and swells of expression (beat, value)."""

    name: str
    program: int
    pan: int = 64
    volume: int = 100
    drums: bool = False
    notes: list[tuple[float, float, int, int]] = field(default_factory=list)
    swells: list[tuple[float, int]] = field(default_factory=list)

    def play(self, beat: float, beats: float, keys: int | Sequence[int], velocity: int, rng: random.Random) -> None:
        """Add a note or a chord, with a little chance in time and touch."""
        for key in [keys] if isinstance(keys, int) else keys:
            touch = min(127, max(1, velocity + rng.randint(-7, 7)))
            self.notes.append((beat + rng.uniform(0, 0.015), beats * 0.94, key, touch))


def degree(tonic: int, number: int) -> int:
    """The key of a degree of the major scale, 0 for the tonic."""
    octave, step = divmod(number, 7)
    return tonic + 12 * octave + MAJOR[step]


def triad(tonic: int, root: int, lowest: int) -> list[int]:
    """The triad on a degree, each key within an octave from `lowest` on."""
    return sorted(low_key(tonic, root + step, lowest) for step in (0, 2, 4))


def low_key(tonic: int, number: int, lowest: int) -> int:
    """The key of a degree within an octave from `lowest` on."""
    return lowest + (degree(tonic, number) - lowest) % 12


def melody(part: Part, tonic: int, roots: Sequence[int], start: int, beats: int, rng: random.Random, loud: int) -> None:
    """A tune over a bar of each chord: chord tones on strong beats, steps between them."""
    rhythms = {4: ((1.5, 0.5, 1, 1), (1, 1, 2), (0.5, 0.5, 1, 0.5, 0.5, 1)), 3: ((1, 1, 1), (1.5, 0.5, 1), (2, 1))}
    place = 9
    for bar, root in enumerate(roots):
        now = float(start + bar * beats)
        for number, length in enumerate(rng.choice(rhythms[beats])):
            if number == 0:
                tones = [root + step + 7 * octave for step in (0, 2, 4) for octave in (0, 1, 2)]
                place = tones[min(range(9), key=lambda n: abs(tones[n] - place))]
            else:
                place = min(14, max(3, place + rng.choice((-2, -1, 1, 1, 2))))
            part.play(now, length, degree(tonic, place), loud + (6 if number == 0 else 0), rng)
            now += length


def held(part: Part, tonic: int, roots: Sequence[int], start: int, lowest: int, rng: random.Random, loud: int) -> None:
    """A held chord in each bar of four beats, with a swell."""
    for bar, root in enumerate(roots):
        now = start + 4 * bar
        part.play(now, 4, triad(tonic, root, lowest), loud, rng)
        part.swells += [(now + 0.25 * step, 100 + round(27 * step / 8)) for step in range(9)]


def drum_kit(part: Part, start: int, bars: int, rng: random.Random) -> None:
    """Bass drum, snare, hi-hat, and a crash every eighth bar."""
    for bar in range(bars):
        now = start + 4 * bar
        if bar % 8 == 0:
            part.play(now, 1, 49, 95, rng)
        for eighth in range(8):
            part.play(now + eighth / 2, 0.25, 42, 80 if eighth % 2 == 0 else 60, rng)
        for beat, key in ((0, 36), (1, 38), (2, 36), (2.5, 36), (3, 38)):
            part.play(now + beat, 0.25, key, 100, rng)


def pop() -> tuple[list[Part], int]:
    """Twenty bars in C at 116 beats a minute: vi IV I V, a verse, a chorus."""
    rng, tonic, roots = random.Random(1), 60, [5, 3, 0, 4] * 5
    piano, guitar, bass = Part("Piano", 0, 50), Part("Steel Guitar", 25, 92, 90), Part("Bass", 33)
    strings, choir, sax = Part("Strings", 48, 40, 80), Part("Choir", 52, 84, 80), Part("Alto Sax", 65, 64, 96)
    kit, sweep = Part("Drums", 0, 64, 96, drums=True), Part("Reverse Cymbal", 119, 30)
    for bar, root in enumerate(roots):
        now, chord = 4 * bar, triad(tonic, root, 55)
        for beat in (0, 1.5, 2, 3):
            piano.play(now + beat, 0.5, chord, 72 if beat else 84, rng)
        for eighth, key in enumerate((0, 1, 2, 1, 2, 1, 2, 1)):
            guitar.play(now + eighth / 2, 0.5, triad(tonic, root, 52)[key], 74, rng)
        for beat, step in ((0, 0), (1.5, 0), (2, 4), (3, 2)):
            bass.play(now + beat, 0.8, low_key(tonic, root + step, 33), 92, rng)
    held(strings, tonic, roots[4:], 16, 60, rng, 70)
    held(choir, tonic, roots[12:], 48, 60, rng, 72)
    melody(sax, tonic, roots[4:], 16, 4, rng, 84)
    drum_kit(kit, 8, 18, rng)
    sweep.play(44, 4, 60, 90, rng)
    return [piano, guitar, bass, strings, choir, sax, sweep, kit], 116


def chamber() -> tuple[list[Part], int]:
    """Twenty-two bars in G, three beats each, at 96 a minute, for flute, clarinet, violin, viola and cello."""
    rng, tonic = random.Random(2), 67
    roots = [0, 5, 3, 4, 0, 2, 3, 1, 4, 4, 0, 0, 5, 2, 3, 0, 1, 4, 5, 3, 4, 0]
    flute, clarinet = Part("Flute", 73, 30, 92), Part("Clarinet", 71, 98, 92)
    violin, viola, cello = Part("Violin", 40, 46), Part("Viola", 41, 80), Part("Cello", 42, 70)
    melody(violin, tonic, roots, 0, 3, rng, 84)
    melody(flute, tonic, roots[4:18], 12, 3, rng, 76)
    melody(clarinet, tonic - 12, roots[8:], 24, 3, rng, 76)
    for bar, root in enumerate(roots):
        now, chord = 3 * bar, triad(tonic, root, 53)
        for beat, key in ((0, 0), (1, 1), (2, 2)):
            viola.play(now + beat, 1, chord[key], 70 + 4 * (beat == 0), rng)
        cello.play(now, 2, low_key(tonic, root, 38), 82, rng)
        cello.play(now + 2, 1, low_key(tonic, root + 4, 38), 74, rng)
    return [flute, clarinet, violin, viola, cello], 96


def fifteen() -> tuple[list[Part], int]:
    """Twenty bars in D at 120 beats a minute, for fourteen instruments and drums."""
    rng, tonic, roots = random.Random(3), 62, [0, 4, 5, 3] * 5
    piano, bells, organ = Part("Piano", 0, 54, 84), Part("Glockenspiel", 9, 108, 70), Part("Church Organ", 19, 64, 70)
    nylon, steel, bass = Part("Nylon Guitar", 24, 24, 84), Part("Steel Guitar", 25, 104, 80), Part("Bass", 33, 64, 100)
    violin, cello, strings = Part("Violin", 40, 44, 90), Part("Cello", 42, 84, 90), Part("Strings", 48, 36, 76)
    choir, trumpet, horn = Part("Choir", 52, 92, 76), Part("Trumpet", 56, 72, 88), Part("French Horn", 60, 52, 80)
    sax, flute = Part("Alto Sax", 65, 60, 84), Part("Flute", 73, 78, 84)
    kit = Part("Drums", 0, 64, 90, drums=True)
    for bar, root in enumerate(roots):
        now = 4 * bar
        for beat in range(4):
            piano.play(now + beat, 0.9, triad(tonic, root, 57), 70, rng)
        for eighth in range(8):
            nylon.play(now + eighth / 2, 0.5, triad(tonic, root, 50)[(0, 2, 1, 2)[eighth % 4]], 72, rng)
            if bar >= 4:
                steel.play(now + eighth / 2, 0.5, triad(tonic, root, 62)[(2, 1, 0, 1)[eighth % 4]], 66, rng)
        for beat in (0, 1, 2, 3):
            bass.play(now + beat, 0.8, low_key(tonic, root + 4 * (beat == 3), 33), 90, rng)
        if bar % 2 == 0:
            for step, key in enumerate(triad(tonic, root, 81)):
                bells.play(now + step / 2, 0.5, key, 78, rng)
        if bar >= 8:
            cello.play(now, 4, low_key(tonic, root, 45), 78, rng)
            horn.play(now, 2, triad(tonic, root, 50)[:2], 74, rng)
            horn.play(now + 2, 2, triad(tonic, root, 50)[1:], 78, rng)
    held(organ, tonic, roots[:8], 0, 50, rng, 60)
    held(strings, tonic, roots[4:], 16, 62, rng, 68)
    held(choir, tonic, roots[12:], 48, 57, rng, 70)
    melody(flute, tonic, roots[:8], 0, 4, rng, 78)
    melody(violin, tonic, roots[8:], 32, 4, rng, 80)
    melody(trumpet, tonic, roots[12:], 48, 4, rng, 84)
    melody(sax, tonic - 12, roots[4:12], 16, 4, rng, 76)
    drum_kit(kit, 0, 20, rng)
    return [piano, bells, organ, nylon, steel, bass, violin, cello, strings, choir, trumpet, horn, sax, flute, kit], 120


SONGS = {"pop": pop, "chamber": chamber, "fifteen": fifteen}


def write_song(name: str, path: Path) -> None:
    """Write one of `SONGS` as a MIDI file."""
    parts, tempo = SONGS[name]()
    midi = mido.MidiFile(type=1, ticks_per_beat=TICKS)
    midi.add_track().append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo)))
    free = (channel for channel in range(16) if channel != 9)
    for part in parts:
        channel = 9 if part.drums else next(free)
        track = midi.add_track(part.name)
        track.append(mido.Message("program_change", channel=channel, program=part.program))
        changes = [(0.0, 7, part.volume), (0.0, 10, part.pan), *((beat, 11, value) for beat, value in part.swells)]
        events = [
            (beat, 0, mido.Message("control_change", channel=channel, control=control, value=value))
            for beat, control, value in changes
        ]
        for beat, beats, key, velocity in part.notes:
            on = mido.Message("note_on", channel=channel, note=key, velocity=velocity)
            events += [(beat, 2, on), (beat + beats, 1, mido.Message("note_off", channel=channel, note=key))]
        now = 0
        for beat, _, message in sorted(events, key=lambda event: event[:2]):
            tick = round(beat * TICKS)
            track.append(message.copy(time=tick - now))
            now = tick
    midi.save(path)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in SONGS:
        write_song(name, folder / f"{name}.mid")
