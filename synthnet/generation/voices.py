"""Which of a network's instruments, or which mixture of them, plays which track."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from synthnet.files import InputError
from synthnet.models.checkpoint import CheckpointHeader, Voice
from synthnet.score.general_midi import KNOWN_INSTRUMENTS, family_of, program_name
from synthnet.score.notes import Score

LARGEST_WEIGHT = 10.0  # a network has heard weights of 1 only; more than this is a slip


def assign_voices(score: Score, checkpoint: CheckpointHeader, spec: str | None) -> list[Voice]:
    """A voice for each track of the score, in order, each with the reason for it.

    Args:
        spec: `flute` is for every track; `0=cello,1=trumpet` for the tracks of these numbers, counted from 0, and the
            others go by their programs; None: all go by their programs. In place of an instrument stands a mixture,
            too: `cello:0.5+trumpet:0.5`, see `mixture`. Upper and lower case are the same; an instrument of the
            paper's can be named by its code, as in S42.

    By its General MIDI program a track goes to the instrument of that program, else to one of the same family of eight
    programs, else to the network's first.

    Raises:
        InputError: an instrument that the network did not learn, a track that is not there or named twice, a mixture
            that is none, an empty part, or some parts with a track's number and some without; one line.
    """
    asked = asked_by_track(spec, len(score.tracks), lambda text: learned_name(text, checkpoint) is not None)
    return [
        voice_for_program(track.program, checkpoint) if text is None else asked_voice(text, checkpoint)
        for track, text in zip(score.tracks, asked, strict=True)
    ]


def asked_by_track(spec: str | None, n_tracks: int, is_name: Callable[[str], bool]) -> list[str | None]:
    """What a spec (see `assign_voices`) asks for each track, an instrument or a mixture; None: nothing.

    Raises:
        InputError: a track that is not there or named twice, an empty part, or some parts without a track's number.
    """
    if spec is None:
        return [None] * n_tracks
    # A network's own instrument may have any name, with a comma in it, too.
    if is_name(spec) or not set(",=") & set(spec):
        return [spec] * n_tracks
    numbers = {str(number): number for number in range(n_tracks)}
    asked: dict[int, str] = {}
    for item in spec.split(","):
        written, equals, who = (part.strip() for part in item.partition("="))
        if not item.strip():
            raise InputError(f"{spec!r}: there is an empty part; the form is 0=cello,1=trumpet")
        if not equals:
            raise InputError(
                f"{spec!r}: {item.strip()!r} has no track number; the form is 0=cello,1=trumpet, or one for all tracks"
            )
        if written not in numbers:
            there_are = "is 1 track, number 0" if n_tracks == 1 else f"are {n_tracks} tracks, 0 to {n_tracks - 1}"
            raise InputError(f"{spec!r}: no track {written!r}; there {there_are}")
        if numbers[written] in asked:
            raise InputError(f"{spec!r}: track {written} is named twice; once is right")
        asked[numbers[written]] = who
    return [asked.get(number) for number in range(n_tracks)]


def asked_voice(text: str, checkpoint: CheckpointHeader) -> Voice:
    """The voice of an instrument's name, or of a mixture; raises as `assign_voices`."""
    text = text.strip()
    name = learned_name(text, checkpoint)
    if name is None and looks_like_mixture(text):
        return mixture(text, checkpoint)
    if not text:
        raise InputError(f"an instrument's name is missing; this network plays: {', '.join(checkpoint.instruments)}")
    return replace(checkpoint.voice(name or text), why="as asked")


def looks_like_mixture(text: str) -> bool:
    """Whether a text that is no instrument's name is meant as a mixture."""
    return bool(set(":+") & set(text))


def mixture(text: str, checkpoint: CheckpointHeader) -> Voice:
    """The voice of `cello:0.5+trumpet:0.5`: its style [S] is the sum of the one-hot styles, each times its weight.

    The weights are above 0 and up to 10, and count as written: nothing makes them add up to 1.

    Raises:
        InputError: the network has no styles, did not learn an instrument, or a name or a weight is missing or wrong.
    """
    if not checkpoint.config.styles:
        raise InputError(f"{text!r}: no mixture for a network of one; it plays: {', '.join(checkpoint.instruments)}")
    style, names = np.zeros(checkpoint.config.styles), []
    for who, weight in mixture_parts(text):
        voice = checkpoint.voice(learned_name(who, checkpoint) or who)
        style[checkpoint.instruments.index(voice.name)] += weight
        names.append(f"{voice.name}:{weight:g}")
    return Voice("+".join(names), style, "as asked")


def mixture_parts(text: str) -> list[tuple[str, float]]:
    """Names and weights of `cello:0.5+trumpet:0.5`; InputError for a name or a weight that is missing or wrong."""
    parts = []
    for part in text.split("+"):
        who, colon, written = (piece.strip() for piece in part.rpartition(":"))
        if not part.strip() or (colon and not who):
            raise InputError(f"{text!r}: a name is missing; the form is cello:0.5+trumpet:0.5")
        if not colon:
            raise InputError(f"{text!r}: {part.strip()!r} has no weight; the form is cello:0.5+trumpet:0.5")
        try:
            weight = float(written)
        except ValueError:
            weight = 0.0
        if not 0.0 < weight <= LARGEST_WEIGHT:
            raise InputError(f"{text!r}: the weight {written!r} is not a number above 0, up to {LARGEST_WEIGHT:g}")
        parts.append((who, weight))
    return parts


def voice_for_program(program: int, checkpoint: CheckpointHeader) -> Voice:
    """The voice that is nearest to a General MIDI program, 0 to 127."""
    if len(checkpoint.instruments) == 1:
        return replace(checkpoint.voice(), why="the only one that this network learned")
    learned = list(zip(checkpoint.instruments, checkpoint.programs, strict=True))
    for name, own in learned:
        if own == program:
            return replace(checkpoint.voice(name), why=f"its program {program}")
    for name, own in learned:
        if own is not None and family_of(own) == family_of(program):
            why = f"nearest to program {program} ({program_name(program)})"
            return replace(checkpoint.voice(name), why=why)
    why = f"as no instrument of its family (program {program}, {program_name(program)}) was learned"
    return replace(checkpoint.voice(), why=why)


def learned_name(text: str, checkpoint: CheckpointHeader) -> str | None:
    """The network's instrument of this name, in upper or lower case, or of this code; None if there is none.

    The network's own names come first, as any of them may look like a code.
    """
    if text in checkpoint.instruments:
        return text
    names = {who.code.lower(): who.name for who in KNOWN_INSTRUMENTS if who.name in checkpoint.instruments}
    names |= {name.lower(): name for name in checkpoint.instruments}
    return names.get(text.lower())
