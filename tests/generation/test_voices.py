"""Which instrument plays which track: by program, as asked for, and mixtures; and one clear line for every slip."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from synthnet.audio.files import read_audio
from synthnet.files import InputError
from synthnet.generation.render import Sampling, Seat, render_score
from synthnet.generation.voices import assign_voices
from synthnet.models import build_model, preset_config
from synthnet.models.checkpoint import Checkpoint, arrays_of
from synthnet.score.notes import Note, Score, Track

RATE = 16_000


def checkpoint_of(*instruments: str) -> Checkpoint:
    """A network of these instruments, without weights; with styles if there are several."""
    styles = len(instruments) if len(instruments) > 1 else 0
    return Checkpoint(preset_config("synthnet", "tiny", styles=styles), RATE, instruments, {}, {})


def score_of(*programs: int) -> Score:
    """A score with a track of one note for each program."""
    return Score(tuple(Track((Note(60, 90, 0.0, 0.05),), program) for program in programs))


MANY = checkpoint_of("piano", "cello", "trumpet")
ONE = checkpoint_of("trumpet")
OWN = checkpoint_of("Kazoo", "S42", "cello", "saw+square", "a,b=c", "kazoo")


def test_without_a_choice_a_track_goes_to_the_nearest_instrument() -> None:
    voices = assign_voices(score_of(1, 0, 42, 41, 56, 60, 99), MANY, None)
    assert [(voice.name, voice.why) for voice in voices] == [
        ("piano", "its program 1"),
        ("piano", "nearest to program 0 (Acoustic Grand Piano)"),
        ("cello", "its program 42"),
        ("cello", "nearest to program 41 (Viola)"),
        ("trumpet", "its program 56"),
        ("trumpet", "nearest to program 60 (French Horn)"),
        ("piano", "as no instrument of its family (program 99, FX 4 (atmosphere)) was learned"),
    ]
    assert [voice.style.tolist() for voice in voices[::2]] == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]


def test_a_network_of_one_plays_every_track_without_a_style() -> None:
    for spec, whys in [(None, ["the only one that this network learned"] * 2), ("TRUMPET", ["as asked"] * 2)]:
        voices = assign_voices(score_of(56, 0), ONE, spec)
        assert [(voice.name, voice.style, voice.why) for voice in voices] == [("trumpet", None, why) for why in whys]
    first, second = assign_voices(score_of(56, 0), ONE, "1=trumpet")
    assert (first.why, second.why) == ("the only one that this network learned", "as asked")


@pytest.mark.parametrize("spec", ["cello", "CeLLo", "s42", "S42", " cello "])
def test_one_for_every_track(spec: str) -> None:
    for voice in assign_voices(score_of(0, 56, 99), MANY, spec):
        assert (voice.name, voice.style.tolist(), voice.why) == ("cello", [0, 1, 0], "as asked")


def test_numbered_tracks_are_as_asked_and_the_others_go_by_their_programs() -> None:
    voices = assign_voices(score_of(0, 60, 0, 42), MANY, "3=trumpet, 0 = S42")
    assert [(voice.name, voice.why) for voice in voices] == [
        ("cello", "as asked"),
        ("trumpet", "nearest to program 60 (French Horn)"),
        ("piano", "nearest to program 0 (Acoustic Grand Piano)"),
        ("trumpet", "as asked"),
    ]
    assert [voice.style.tolist() for voice in voices] == [[0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 0, 1]]


def test_a_mixture_is_the_weighted_sum_of_styles_as_written() -> None:
    for mixed in assign_voices(score_of(0, 56), MANY, "Cello:0.3+trumpet:10"):
        assert mixed.style.tolist() == [0, 0.3, 10]  # not normalised
        assert (mixed.name, mixed.why) == ("cello:0.3+trumpet:10", "as asked")
    first, second, third = assign_voices(score_of(0, 0, 0), MANY, "0=piano:0.25 + S56:1e-1,2=cello:1.5+cello:0.5")
    assert first.style.tolist() == [0.25, 0, 0.1]
    assert second.style.tolist() == [1, 0, 0]
    assert third.style.tolist() == [0, 2, 0]


def test_a_mixture_of_one_with_weight_1_is_that_instrument_to_the_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_model(MANY.config).eval().requires_grad_(False)
    with torch.no_grad():  # sharper than a fresh network, so that the style matters
        network.head.logits.weight.mul_(8)
    score = score_of(0)

    def audio(spec: str) -> np.ndarray:
        checkpoint = replace(MANY, weights=arrays_of(network.state_dict()))
        seats = [Seat(checkpoint, voice) for voice in assign_voices(score, MANY, spec)]
        path = tmp_path / "o.wav"
        sampling = Sampling(expectation=False, n_chunks=1)
        render_score(seats, score, path, sample_rate_hz=RATE, n_samples=1_000, sampling=sampling)
        return read_audio(path).samples

    assert np.array_equal(audio("cello:1.0"), audio("cello"))
    assert np.array_equal(audio("cello:0.5+cello:0.5"), audio("cello"))
    for spec in ("trumpet", "cello:0.5", "cello:1+trumpet:1"):
        assert not np.array_equal(audio(spec), audio("cello")), spec


def test_the_networks_own_names_come_first() -> None:
    index = {name: number for number, name in enumerate(OWN.instruments)}
    for spec, name in [
        ("Kazoo", "Kazoo"),
        ("kazoo", "kazoo"),
        ("S42", "S42"),  # not the cello, whose code it is
        ("s42", "S42"),
        ("SAW+square", "saw+square"),
        ("saw+square", "saw+square"),
        ("A,b=c", "a,b=c"),
        ("0=saw+square", "saw+square"),
    ]:
        (voice,) = assign_voices(score_of(0), OWN, spec)
        assert (voice.name, int(np.argmax(voice.style)), voice.style.sum()) == (name, index[name], 1), spec


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ("horn", "this network does not play 'horn'; it plays: piano, cello, trumpet"),
        ("flute", "this network does not play 'flute'"),
        ("S75", "this network does not play 'S75'"),
        ("0=horn", "this network does not play 'horn'; it plays: piano, cello, trumpet"),
        ("cello:0.5+horn:0.5", "this network does not play 'horn'; it plays: piano, cello, trumpet"),
        ("2=cello", "no track '2'; there are 2 tracks, 0 to 1"),
        ("-1=cello", "no track '-1'; there are 2 tracks, 0 to 1"),
        ("x=cello", "no track 'x'; there are 2 tracks, 0 to 1"),
        ("=cello", "no track ''; there are 2 tracks, 0 to 1"),
        ("9" * 5000 + "=cello", "there are 2 tracks, 0 to 1"),
        ("0=cello,0=trumpet", "track 0 is named twice"),
        ("0=cello, 0=cello", "track 0 is named twice"),
        ("cello:loud+trumpet:0.5", "the weight 'loud' is not a number above 0, up to 10"),
        ("cello:0+trumpet:0.5", "the weight '0' is not a number above 0, up to 10"),
        ("cello:-0.5", "the weight '-0.5' is not a number above 0, up to 10"),
        ("cello:nan", "the weight 'nan' is not"),
        ("cello:inf", "the weight 'inf' is not"),
        ("cello:10.1", "the weight '10.1' is not"),
        ("cello:", "the weight '' is not"),
        ("cello+trumpet", "'cello' has no weight; the form is cello:0.5+trumpet:0.5"),
        ("cello:0.5+trumpet", "'trumpet' has no weight"),
        ("cello:0.5+", "a name is missing; the form is cello:0.5+trumpet:0.5"),
        ("+cello:0.5", "a name is missing"),
        (":0.5", "a name is missing"),
        ("", "name is missing; this network plays: piano, cello, trumpet"),
        (" ", "name is missing; this network plays: piano, cello, trumpet"),
        ("0=", "name is missing; this network plays: piano, cello, trumpet"),
        ("0=cello,", "there is an empty part; the form is 0=cello,1=trumpet"),
        (",", "there is an empty part"),
        ("0=cello,,1=trumpet", "there is an empty part"),
        ("cello,1=trumpet", "'cello' has no track number; the form is 0=cello,1=trumpet, or one for all tracks"),
        ("0=cello,trumpet:0.5", "'trumpet:0.5' has no track number"),
        ("cello,trumpet", "'cello' has no track number"),
    ],
)
def test_faults_are_one_line_that_says_what_would_be_right(spec: str, line: str) -> None:
    with pytest.raises(InputError, match=re.escape(line)) as fault:
        assign_voices(score_of(0, 56), MANY, spec)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("spec", ["cello", "0=cello", "trumpet:1", "1=trumpet:0.5", "cello:0.5+trumpet:0.5"])
def test_a_network_of_one_says_what_it_plays(spec: str) -> None:
    with pytest.raises(InputError, match=r"it plays: trumpet$"):
        assign_voices(score_of(0, 56), ONE, spec)


def test_one_track_is_counted_as_one() -> None:
    with pytest.raises(InputError, match=r"no track '1'; there is 1 track, number 0$"):
        assign_voices(score_of(0), MANY, "1=cello")
