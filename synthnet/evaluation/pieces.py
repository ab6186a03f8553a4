"""How good a network is on a corpus's validation pieces: fit, score gain, and what it plays free-running.

Two things are generated: separate seconds, each from silence, as the paper does, and whole pieces in one go, which show
the start, and whether the network drifts or collapses. `TARGETS` say what is good for a whole piece.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthnet.corpus.corpus import FULL_SCALE, Corpus, Piece
from synthnet.evaluation.cqt import mean_and_ci95, rmse_cqt_db
from synthnet.evaluation.free_run import FreeRun, free_run, fresh_seconds
from synthnet.evaluation.level import collapsed_seconds, level_difference_db, start_burst_db
from synthnet.evaluation.likelihood import fit, split_floor_nats
from synthnet.evaluation.pitch import note_pitches
from synthnet.generation.streams import Stream, generate
from synthnet.models import Network
from synthnet.score.general_midi import pitch_name
from synthnet.score.notes import Note
from synthnet.score.roll import RollEvents, rasterise, roll_events, to_samples

AFRESH_SECONDS = 12

MOST_WRONG_SHOWN = 8

SHORTEST_PIECE_S = 3.0  # a second for each third


@dataclass(frozen=True)
class Target:
    """What is good: a figure of `piece_figures` from `lowest` to `highest`."""

    lowest: float
    highest: float

    def met_by(self, value: float) -> bool:
        """Whether a figure is good; nan, where there was nothing to measure, is not."""
        return self.lowest <= value <= self.highest


# Of the expectation output against the clean teacher. A burst is twice the amplitude: attacks of one note differ by
# less. The drift of RMSE-CQT has a standard error of about 0.2 dB.
TARGETS = {
    "rmse_cqt_db": Target(0.0, 9.0),
    "pitch_share": Target(0.97, 1.0),
    "level_db": Target(-2.0, 2.0),
    "start_burst_db": Target(-math.inf, 6.0),
    "rmse_cqt_drift_db": Target(-math.inf, 1.0),
    "level_drift_db": Target(-2.0, 2.0),
    "collapsed": Target(0, 0),
}


def piece_figures(
    reference: np.ndarray,
    test: np.ndarray,
    events: RollEvents,
    partials: Sequence[float],
    heard: np.ndarray | None = None,
) -> dict[str, Any]:
    """Figures of a piece as played by `test` [n], against the clean teacher's `reference` [n], of at least 3 s.

    Keys: rmse_cqt_db and rmse_cqt_ci95_db, over all whole seconds, rmse_cqt_thirds_db, of the first, the second and the
    last third of them; pitch_share, the share with the right pitch of those notes longer than 80 ms that have it in the
    reference (in a dense chord the measure does not find every note of the teacher's own), and wrong_notes, the rest of
    those; level_db, while notes sound; start_burst_db; collapsed, the number of seconds in collapsed_seconds.
    `synthnet.evaluation.cqt` says how each is measured.

    Args:
        heard: which of the judged notes have the right pitch in the reference, bool; None: found out here.
    """
    rate = events.sample_rate_hz
    seconds = rmse_cqt_db(reference, test, rate)
    rmse, width = mean_and_ci95(seconds)
    notes = note_pitches(test, events, partials)
    heard = note_pitches(reference, events, partials).right if heard is None else heard
    collapsed = collapsed_seconds(reference, test, rate)
    sounds = rasterise(events, 0, len(reference)).max(axis=0) > 0
    return {
        "rmse_cqt_db": rmse,
        "rmse_cqt_ci95_db": width,
        "rmse_cqt_thirds_db": [float(third.mean()) for third in np.array_split(seconds, 3)],
        "pitch_share": float(notes.right[heard].mean()) if heard.any() else math.nan,
        "level_db": level_difference_db(reference[sounds], test[sounds]),
        "start_burst_db": start_burst_db(reference, test, int(events.onset.min(initial=0)), rate),
        "collapsed": len(collapsed),
        "collapsed_seconds": collapsed.tolist(),
        "wrong_notes": [
            {
                "start_s": float(notes.start_s[index]),
                "pitch": int(notes.expected[index]),
                "found": float(notes.found[index]),
            }
            for index in np.flatnonzero(heard & ~notes.right)
        ],
    }


@dataclass(frozen=True)
class PieceRun:
    """A validation piece played in one go, from silence, beside its clean target: float32 [n] each."""

    name: str
    notes: tuple[Note, ...]
    events: RollEvents
    sample: np.ndarray
    expectation: np.ndarray
    target: np.ndarray
    afresh: FreeRun  # seconds of its last third once more, each from silence


def _say_nothing(n_samples: int) -> None:
    pass


def play_piece(
    network: Network,
    corpus: Corpus,
    piece: Piece,
    n_samples: int,
    *,
    seed: int = 0,
    style: np.ndarray | None = None,
    progress: Callable[[int], None] = _say_nothing,
) -> PieceRun:
    """Play the first samples of a piece free-running, as `synthnet render --chunks off` does with the same seed.

    Args:
        progress: called with the samples finished since the last call.
    """
    notes = corpus.read_notes(piece)
    events = roll_events(notes, corpus.sample_rate_hz)
    streams = [Stream(events, (seed, 0), style, expectation) for expectation in (False, True)]
    blocks = []
    for block in generate(network, streams, n_samples):
        blocks.append(block)
        progress(block.shape[1])
    sample, expectation = np.concatenate(blocks, axis=1)
    target = corpus.read_samples(piece)[:n_samples].astype(np.float32) / FULL_SCALE
    late = np.linspace(n_samples * 2 // 3, n_samples - corpus.sample_rate_hz, AFRESH_SECONDS).astype(int)
    afresh = fresh_seconds(network, corpus, [(piece, int(start)) for start in late], seed=seed, style=style)
    return PieceRun(piece.name, notes, events, sample, expectation, target, afresh)


def drift(
    whole: np.ndarray, starts: Sequence[int], afresh: np.ndarray, target: np.ndarray, rate: int
) -> dict[str, float]:
    """How much a piece in one go, `whole` [n], got worse than seconds of it [N, rate] played afresh from these samples.

    Keys: rmse_cqt_drift_db, mean RMSE-CQT in one go minus that afresh; level_drift_db, the level in one go against that
    afresh. The same music is compared with itself: thirds of a piece also differ in how hard they are.
    """
    late = np.stack([whole[start : start + rate] for start in starts])
    pairs = zip(target, late, afresh, strict=True)
    grown = [rmse_cqt_db(theirs, mine, rate)[0] - rmse_cqt_db(theirs, other, rate)[0] for theirs, mine, other in pairs]
    return {
        "rmse_cqt_drift_db": float(np.mean(grown)),
        "level_drift_db": level_difference_db(afresh.ravel(), late.ravel()),
    }


def evaluate_piece(run: PieceRun, partials: Sequence[float]) -> dict[str, Any]:
    """`piece_figures` and `drift` of both outputs, and the targets that are met.

    Of the "notes" longer than 80 ms the share "teacher_pitch_share" has the right pitch in the teacher's own playing.
    """
    teacher = note_pitches(run.target, run.events, partials)
    rate = run.events.sample_rate_hz
    starts = [round(start_s * rate) for start_s in run.afresh.start_s]
    sample, expectation = (
        piece_figures(run.target, whole, run.events, partials, teacher.right)
        | drift(whole, starts, afresh, run.afresh.target, rate)
        for whole, afresh in ((run.sample, run.afresh.sample), (run.expectation, run.afresh.expectation))
    )
    return {
        "name": run.name,
        "seconds": len(run.target) / rate,
        "notes": len(teacher.right),
        "teacher_pitch_share": teacher.share,
        "sample": sample,
        "expectation": expectation,
        "targets_met": {name: target.met_by(expectation[name]) for name, target in TARGETS.items()},
    }


def piece_lengths(corpus: Corpus, most_s: float | None) -> list[tuple[Piece, int]]:
    """The validation pieces with the samples to play of each: all, or the first `most_s` seconds; none below 3 s."""
    rate = corpus.sample_rate_hz
    most = math.inf if most_s is None else int(to_samples(most_s, rate))
    lengths = [(piece, int(min(piece.n_samples, most))) for piece in corpus.split("valid")]
    return [(piece, n) for piece, n in lengths if n >= SHORTEST_PIECE_S * rate]


def format_piece(played: Mapping[str, Any]) -> str:
    """The figures of `evaluate_piece` as text for a terminal, the targets beside them."""
    judged = round(played["teacher_pitch_share"] * played["notes"]) if played["notes"] else 0
    of_all = f"teacher {judged} of {played['notes']}"
    rows = [
        ("RMSE-CQT", "rmse_cqt_db", "7.2f", " dB", "at most 9"),
        (f"right pitch, {judged} notes", "pitch_share", "7.1%", "", f"at least 97%; {of_all}"),
        ("level", "level_db", "+7.1f", " dB", "within 2"),
        ("loudest start", "start_burst_db", "+7.1f", " dB", "at most +6"),
        ("drift of RMSE-CQT", "rmse_cqt_drift_db", "+7.2f", " dB", "at most +1"),
        ("drift of level", "level_drift_db", "+7.1f", " dB", "within 2"),
        ("seconds collapsed", "collapsed", "7d", "", "none"),
    ]
    lines = [f"{played['name']}, {played['seconds']:.1f} s in one go against the clean teacher"]
    lines.append(f"  {'':28}{'sample':>18}{'expectation':>18}    good: expectation")
    for label, key, form, unit, good in rows:
        cells = []
        for output in (played["sample"], played["expectation"]):
            width = output["rmse_cqt_ci95_db"] if key == "rmse_cqt_db" else math.nan
            cells.append(f"{output[key]:{form}}{format_width(width)}{unit}")
        verdict = "yes" if played["targets_met"][key] else "NO "
        lines.append(f"  {label:28}{cells[0]:>18}{cells[1]:>18}    {verdict} ({good})")
    thirds = ", ".join(f"{third:.2f}" for third in played["expectation"]["rmse_cqt_thirds_db"])
    lines.append(f"  RMSE-CQT of the expectation by thirds of the piece: {thirds} dB")
    lines.append("  drift: the last third against seconds of it played afresh, each from silence")
    wrong = played["expectation"]["wrong_notes"]
    if wrong:
        told = [
            f"{pitch_name(note['pitch'])} at {note['start_s']:.1f} s ({pitch_name(note['found'])})"
            for note in wrong[:MOST_WRONG_SHOWN]
        ]
        more = len(wrong) - len(told)
        lines.append(f"  wrong (found instead): {', '.join(told)}{f', and {more} more' if more else ''}")
    return "\n".join(lines)


def format_width(width: float) -> str:
    """Half a confidence interval as text, empty for nan."""
    return "" if math.isnan(width) else f" ± {width:.2f}"


def evaluate(
    network: Network, corpus: Corpus, n_seconds: int, *, seed: int = 0, style: np.ndarray | None = None
) -> dict[str, float]:
    """Figures of fit and of separate seconds, as plain values; widths are half a 95% confidence interval."""
    told = fit(network, [corpus], style=style)
    generated = free_run(network, corpus, n_seconds, seed=seed, style=style)
    rmse, width = mean_and_ci95(generated.sample_rmse_db)
    expected_rmse, expected_width = mean_and_ci95(generated.expectation_rmse_db)
    floor = split_floor_nats([corpus], "valid", network.config.dither)
    return {
        "valid_nll": told.nll,
        "dither_floor": floor,
        "excess": told.nll - floor,
        "score_gain": told.score_gain,
        "seconds": n_seconds,
        "rmse_cqt_db": rmse,
        "rmse_cqt_ci95_db": width,
        "rmse_cqt_expectation_db": expected_rmse,
        "rmse_cqt_expectation_ci95_db": expected_width,
    }
