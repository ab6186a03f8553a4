"""A stage: files through it sound as rendered, nothing sticks, and times are those of arrival."""

from __future__ import annotations

import io
import random

import mido
import numpy as np
import pytest
import torch
from conftest import SMALL, small_weights

from synthnet.audio.mix import pan_gains
from synthnet.files import InputError
from synthnet.generation.harmonic import HarmonicPlayer, Part
from synthnet.generation.library import Seat
from synthnet.generation.stage import HEADROOM, VOICES, BlockTimes, Stage, Timekeeper, block_ms, take_as_midi
from synthnet.models import build_model, preset_config
from synthnet.models.checkpoint import Checkpoint, Voice, arrays_of
from synthnet.models.envelopes import notes_of
from synthnet.score.channels import to_score
from synthnet.score.roll import roll_events
from synthnet.score.smf import MidiFile, parse_midi

RATE, BLOCK = 16_000, 80
WEIGHTS = small_weights()
LONGEST_TAIL = int(np.ceil(WEIGHTS["release_s"].max() * RATE))
ON, OFF, CONTROL, PROGRAM, BEND = 0x90, 0x80, 0xB0, 0xC0, 0xE0


def seat_of(program: int) -> Seat:
    return Seat(Checkpoint(SMALL, RATE, ("piano",), {}, WEIGHTS), Voice("piano", None))


def new_stage(**options: object) -> Stage:
    return Stage(seat_of, RATE, BLOCK, **options)  # type: ignore[arg-type]


def parsed(midi: mido.MidiFile) -> MidiFile:
    data = io.BytesIO()
    midi.save(file=data)
    return parse_midi(data.getvalue())


def band() -> MidiFile:
    """Two channels with pedals, bends, vibrato, volume and pan; no key is struck twice."""
    midi = mido.MidiFile(type=0, ticks_per_beat=RATE)  # a tick a sample
    track, rng = midi.add_track(), np.random.default_rng(0)
    track.append(mido.MetaMessage("set_tempo", tempo=1_000_000))
    events = []
    for k in range(24):
        start, channel = 300 * k + int(rng.integers(250)), k % 2
        length = int(rng.integers(200, 3_000))
        note = {"channel": channel, "note": 40 + k}
        events.append((start, mido.Message("note_on", velocity=int(rng.integers(30, 127)), **note)))
        events.append((start + length, mido.Message("note_off", **note)))
    for at, channel, control, value in [
        (1_000, 0, 64, 127), (2_511, 0, 64, 0), (3_000, 1, 66, 90), (4_400, 1, 66, 0), (3_500, 0, 67, 127),
        (5_555, 0, 67, 0), (1_234, 1, 1, 100), (2_345, 0, 7, 60), (4_321, 0, 11, 90), (6_000, 1, 121, 0),
        (0, 0, 10, 20), (3_210, 1, 10, 110),
    ]:  # fmt: skip
        events.append((at, mido.Message("control_change", channel=channel, control=control, value=value)))
    for k in range(40):
        events.append((500 + 97 * k, mido.Message("pitchwheel", channel=k % 2, pitch=int(rng.integers(-8192, 8192)))))
    now = 0
    for at, message in sorted(events, key=lambda event: event[0]):
        track.append(message.copy(time=at - now))
        now = at
    return parsed(midi)


def test_a_file_through_the_stage_sounds_as_it_does_in_one_go() -> None:
    stage = new_stage()
    stage.schedule(band().events)
    heard = np.concatenate([stage.read() for _ in range(200)])
    expected = np.zeros((200 * BLOCK, 2))
    for seed, track in enumerate(to_score(band()).tracks):
        player = HarmonicPlayer(SMALL, WEIGHTS, RATE, seed=seed)
        part = Part(notes_of(roll_events(track.notes, RATE)), track.controls)
        sides = pan_gains(track.controls.smoothed("pan", 0, len(expected), RATE))
        expected += HEADROOM * sides * player.play(part, 0, len(expected))[:, None]
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(heard, expected, atol=2e-6)
    assert stage.peak == np.abs(heard).max()


def storm(stage: Stage, seed: int, seconds: float, per_s: int = 600) -> int:
    """Random messages in blocks as they come; the most voices that sounded."""
    rng, most = random.Random(seed), 0
    for _ in range(round(seconds * RATE / BLOCK)):
        for _ in range(per_s * BLOCK // RATE):
            channel, key, value = rng.randrange(3), rng.randrange(36, 96), rng.randrange(128)
            messages = [
                *4 * [(ON | channel, key, value)],
                *4 * [(OFF | channel, key, 0)],
                (CONTROL | channel, rng.choice([1, 7, 11, 64, 66, 67, 120, 121, 123, 127]), value),
                (BEND | channel, value, rng.randrange(128)),
                (PROGRAM | channel, rng.randrange(2)),
            ]
            stage.send(rng.choice(messages), stage.position + rng.randrange(BLOCK))
        assert np.isfinite(stage.read()).all()
        most = max(most, stage.voices)
    return most


@pytest.mark.parametrize("ending", ["keys and pedals", "all notes off", "all sound off", "unplugged"])
def test_nothing_sounds_after_a_storm(ending: str) -> None:
    stage = new_stage()
    assert 10 < storm(stage, len(ending), 0.5) <= VOICES + 20  # more than 64 while the oldest fade
    for channel in range(3):
        if ending == "keys and pedals":
            for pedal in (64, 66):
                stage.send((CONTROL | channel, pedal, 0))
            for key in range(128):
                stage.send((OFF | channel, key, 64))
        elif ending == "all sound off":
            stage.send((CONTROL | channel, 120, 0))
        elif ending == "all notes off":
            stage.send((CONTROL | channel, 123, 0))
            stage.send((CONTROL | channel, 121, 0))
    if ending == "unplugged":
        stage.release_all()
    assert not stage.silent
    for _ in range(LONGEST_TAIL // BLOCK + 3):
        stage.read()
    assert stage.silent
    assert not stage.read().any()


def test_of_too_many_voices_the_oldest_fade_out() -> None:
    stage = new_stage()
    for number in range(VOICES + 20):
        stage.send((ON, 20 + number, 90), at=number)
    stage.read()
    (live, _), *_ = stage._instruments.values()
    assert [note.pitch for note in live.struck] == list(range(36, 36 + VOICES))  # 80 were struck
    for _ in range(4):  # the last four wait for those that fade
        stage.read()
    assert [note.pitch for note in live.struck] == list(range(40, 40 + VOICES))


def test_after_a_pause_no_crowd_of_voices_is_left() -> None:
    stage = new_stage()
    for number in range(500):
        stage.send((ON + number // 100, 20 + number % 100, 90), at=number // 10)
    stage.read()
    assert stage.voices <= 2 * VOICES


def test_a_key_whose_release_was_lost_does_not_stick() -> None:
    stage = new_stage()
    stage.send((ON, 60, 90), at=10)
    stage.send((ON, 60, 90), at=2_000)
    stage.send((OFF, 60, 0), at=4_000)
    for _ in range((4_000 + LONGEST_TAIL) // BLOCK + 2):
        stage.read()
    assert stage.silent


def test_messages_of_a_keyboard_sound_a_block_later_at_their_samples() -> None:
    now_s = [0.0]
    stage = new_stage(clock=lambda: now_s[0], keep=True)
    for at_s, key in [(0.0, 50), (0.001, 51), (0.0051, 52), (0.012, 53), (0.0149, 54)]:
        while now_s[0] + 0.005 <= at_s:
            now_s[0] += 0.005
            stage.read()
        stage.send((ON, key, 90)) if now_s[0] == at_s else _at(now_s, at_s, stage, key)
    now_s[0] = 0.015
    stage.read()
    # The first block is asked for at 5 ms: what came before it is heard at once, for lack of a block before.
    assert [(message.at, message.data[1]) for message in stage.heard] == [
        (0, 50),
        (0, 51),
        (82, 52),
        (192, 53),
        (238, 54),
    ]


def _at(now_s: list[float], at_s: float, stage: Stage, key: int) -> None:
    before, now_s[0] = now_s[0], at_s
    stage.send((ON, key, 90))
    now_s[0] = before


def test_what_is_no_message_is_refused() -> None:
    stage = new_stage()
    for message in [(), (60, 90), (ON, 60), (ON, 60, 200), (PROGRAM, 1, 2)]:
        with pytest.raises(ValueError, match="no MIDI message"):
            stage.send(message)
    stage.send((0xF8,))  # a clock's tick
    stage.read()
    assert stage.silent


def test_a_take_has_the_notes_at_their_samples() -> None:
    stage = new_stage(keep=True)
    stage.schedule(band().events)
    for _ in range(120):
        stage.read()
    score, expected = to_score(parsed(take_as_midi(stage))), to_score(band())
    assert [track.program for track in score.tracks] == [1, 1]  # the piano that ships is number 1
    for track, other in zip(score.tracks, expected.tracks, strict=True):
        taken, played = (roll_events(one.notes, RATE) for one in (track, other))
        assert taken.onset.tolist() == played.onset.tolist()
        assert taken.release.tolist() == np.minimum(played.release, 120 * BLOCK).tolist()
        assert track.controls == other.controls


def test_a_network_of_the_paper_plays_at_its_rate_and_all_channels_at_once() -> None:
    torch.manual_seed(0)
    network = build_model(preset_config("synthnet", "tiny"))
    seat = Seat(
        Checkpoint(network.config, RATE, ("trumpet",), {}, arrays_of(network.state_dict())), Voice("trumpet", None)
    )
    stage = Stage(lambda program: seat, RATE, BLOCK)
    for channel in range(3):
        stage.send((ON | channel, 60 + channel, 90), at=40)
    assert len(stage.read()) == BLOCK
    ((live, level),) = stage._instruments.values()
    assert (live.notes.pitch.tolist(), level) == ([60, 61, 62], 1.0)
    assert block_ms(seat, RATE, n_blocks=2) > 0
    with pytest.raises(InputError, match="trumpet plays at 16000 Hz live, not at 44100 Hz"):
        Stage(lambda program: seat, 44_100)


def test_a_timekeeper_asks_when_a_block_is_due_and_counts_those_that_come_late() -> None:
    now_s, asked_s, needed_s = [0.0], list[float](), iter([0.001, 0.0, 0.012, 0.001, 0.001])

    def read() -> None:
        asked_s.append(now_s[0])
        now_s[0] += next(needed_s)

    def sleep(seconds: float) -> None:
        now_s[0] += seconds

    keeper = Timekeeper(0.005, lambda: now_s[0], sleep)
    keeper.play(read, 5)
    assert keeper.late == 1
    np.testing.assert_allclose(asked_s, [0.0, 0.005, 0.010, 0.022, 0.027])  # late: time begins anew


def test_block_times_give_what_they_measure() -> None:
    times = BlockTimes(lambda: np.ones(3, np.float32), 1e9)
    assert times().tolist() == [1, 1, 1]
    assert (len(times.spent_s), times.late) == (1, 0)
    times.block_s = 0.0
    times()
    assert times.late == 1
    assert times.line().startswith("2 blocks of 0.0 ms: median ")
