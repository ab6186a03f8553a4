"""How good a network is on a corpus's validation pieces: fit, score gain, and what it plays free-running.

Free-running, the network is conditioned on the score and on its own output. Two things are generated: separate seconds,
each from silence, as in the paper, and whole pieces in one go, which show bursts at the start, drift and collapse.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from synthnet.corpus.corpus import Corpus, Piece
from synthnet.evaluation.cqt import mean_and_ci95, rmse_cqt_at_floors, with_ci95
from synthnet.evaluation.free_run import FreeRun, Places, seconds_at
from synthnet.evaluation.level import collapsed_seconds, level_difference_db, start_burst_db
from synthnet.evaluation.likelihood import fit, split_floor_nats
from synthnet.evaluation.pitch import NotePitches, kept_onsets, note_pitches
from synthnet.files import InputError
from synthnet.generation.chunks import generate_in_chunks
from synthnet.generation.streams import Stream, generate
from synthnet.models import Network
from synthnet.score.general_midi import partials_of, pitch_name
from synthnet.score.notes import Note
from synthnet.score.roll import RollEvents, rasterise, roll_events, to_samples

FRESH_SECONDS = 12
MOST_WRONG_SHOWN = 8
SHORTEST_PIECE_S = 3.0  # a second for each third


@dataclass(frozen=True)
class Target:
    """A figure of `PieceFigures` is good from `lowest` to `highest`; the rest is how a terminal shows it."""

    lowest: float
    highest: float
    label: str
    wording: str
    form: str
    unit: str = " dB"

    def met_by(self, value: float) -> bool:
        """Whether a figure is good; nan, where there was nothing to measure, is not."""
        return self.lowest <= value <= self.highest


# For the mean output. A burst is twice the amplitude: attacks of one note differ by less. The drift of RMSE-CQT has a
# standard error of about 0.2 dB.
TARGETS = {
    "rmse_cqt_db": Target(0.0, 9.0, "RMSE-CQT", "at most 9", "7.2f"),
    "pitch_share": Target(0.97, 1.0, "right pitch", "at least 97%", "7.1%", ""),
    "level_db": Target(-2.0, 2.0, "level", "within 2", "+7.1f"),
    "start_burst_db": Target(-math.inf, 6.0, "loudest start", "at most +6", "+7.1f"),
    "rmse_cqt_drift_db": Target(-math.inf, 1.0, "drift of RMSE-CQT", "at most +1", "+7.2f"),
    "level_drift_db": Target(-2.0, 2.0, "drift of level", "within 2", "+7.1f"),
    "collapsed": Target(0, 0, "seconds collapsed", "none", "7d", ""),
}


@dataclass(frozen=True)
class NetworkFigures:
    """Fit in nats a sample, and RMSE-CQT of separate free-running seconds in dB, with half a 95% interval."""

    valid_nll: float
    dither_floor: float
    score_gain: float
    seconds: int
    rmse_cqt_db: float
    rmse_cqt_ci95_db: float
    rmse_cqt_50_db: float  # with the floor at -50 dB
    rmse_cqt_mean_db: float  # of the means of the distributions
    rmse_cqt_mean_ci95_db: float
    rmse_cqt_mean_50_db: float

    excess: float  # likelihood over the dither floor, in nats a sample

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON. Checkpoints and recipes have "expectation" for the mean output."""
        return {name.replace("_mean", "_expectation"): value for name, value in asdict(self).items()}

    def text(self) -> str:
        """The figures for a terminal."""
        lines = (
            f"likelihood, validation   {self.valid_nll:7.3f} nats a sample",
            f"dither floor             {self.dither_floor:7.3f} nats a sample",
            f"excess over the floor    {self.excess:7.3f} nats a sample",
            f"score gain               {self.score_gain:7.3f} nats a sample",
            f"RMSE-CQT, sample         {with_ci95(self.rmse_cqt_db, self.rmse_cqt_ci95_db):>7} dB",
            f"  floor at -50 dB        {self.rmse_cqt_50_db:7.2f} dB",
            f"RMSE-CQT, mean           {with_ci95(self.rmse_cqt_mean_db, self.rmse_cqt_mean_ci95_db):>7} dB",
            f"  floor at -50 dB        {self.rmse_cqt_mean_50_db:7.2f} dB",
            f"over {self.seconds} free-running seconds against the clean target, ± 95% confidence",
        )
        return "\n".join(f"  {line}" for line in lines)


@dataclass(frozen=True)
class WrongNote:
    """A note with another pitch: onset, MIDI pitch of the score, MIDI pitch found (nan: none)."""

    start_s: float
    pitch: int
    found: float


@dataclass(frozen=True)
class PieceFigures:
    """One output of a piece against the clean teacher; the metrics' modules say how each is measured.

    Only notes that have the right pitch in the teacher's playing are judged: in a dense chord, the measure does not
    find all of those either. Drift compares seconds of the last third with the same seconds generated from silence,
    since thirds of a piece also differ in how hard they are.
    """

    rmse_cqt_db: float  # over all whole seconds
    rmse_cqt_ci95_db: float  # half a 95% interval
    rmse_cqt_50_db: float  # with the floor at -50 dB
    rmse_cqt_thirds_db: tuple[float, ...]  # of the first, the second and the last third of them
    pitch_share: float  # of right notes, 0 to 1; nan for none
    level_db: float  # while notes sound
    start_burst_db: float
    rmse_cqt_drift_db: float
    level_drift_db: float
    collapsed_seconds: tuple[int, ...]
    wrong_notes: tuple[WrongNote, ...]
    collapsed: int  # number of the seconds that did


@dataclass(frozen=True)
class PieceRun:
    """A validation piece that a network plays in one go from silence; its figures are measured on first use."""

    piece: Piece
    notes: tuple[Note, ...]
    events: RollEvents
    partials: tuple[float, ...]  # of the instrument, relative to the fundamental
    sample: np.ndarray  # float32 [n], drawn from the distributions
    mean: np.ndarray  # float32 [n], their means
    target: np.ndarray  # float32 [n], the clean teacher
    fresh: FreeRun  # seconds of the last third once more, each from silence

    @functools.cached_property
    def teacher(self) -> NotePitches:
        """Pitches in the teacher's playing."""
        return note_pitches(self.target, self.events, self.partials)

    @functools.cached_property
    def figures(self) -> dict[str, PieceFigures]:
        """Figures of both outputs, "sample" and "mean"."""
        outputs = {"sample": (self.sample, self.fresh.sample), "mean": (self.mean, self.fresh.mean)}
        return {name: self.figures_of(*sounds) for name, sounds in outputs.items()}

    @property
    def targets_met(self) -> dict[str, bool]:
        """Whether each figure of the mean output is good."""
        return {name: target.met_by(getattr(self.figures["mean"], name)) for name, target in TARGETS.items()}

    def figures_of(self, test: np.ndarray, fresh: np.ndarray) -> PieceFigures:
        """Figures of the piece as `test` [n] plays it, and `fresh` [N, one second] the seconds from silence."""
        target, events, rate = self.target, self.events, self.events.sample_rate_hz
        theirs, mine = (self.piece.measured(samples, rate) for samples in (target, test))
        seconds, faint = rmse_cqt_at_floors(theirs, mine, rate)
        pitches = note_pitches(test, events, self.partials)
        heard = self.teacher.right & kept_onsets(self.piece, pitches.start_s, rate)
        found = zip(*(column.tolist() for column in (pitches.start_s, pitches.expected, pitches.found)), strict=True)
        sounds = rasterise(events, 0, len(target)).max(axis=0) > 0
        for first, stop in self.piece.left_out:
            sounds[first:stop] = False
        late = np.stack([test[start : start + rate] for start in self.fresh.starts])
        silent = collapsed_seconds(target, test, rate).tolist()
        collapsed = tuple(at for at in silent if not self.piece.leaves_out(at * rate, (at + 1) * rate))
        return PieceFigures(
            *mean_and_ci95(seconds),
            float(faint.mean()),
            tuple(float(third.mean()) if len(third) else math.nan for third in np.array_split(seconds, 3)),
            pitch_share=float(pitches.right[heard].mean()) if heard.any() else math.nan,
            level_db=level_difference_db(target[sounds], test[sounds]),
            start_burst_db=start_burst_db(target, test, int(events.onset.min(initial=0)), rate),
            rmse_cqt_drift_db=float(np.mean(self.fresh.rmse_db(late)[0] - self.fresh.rmse_db(fresh)[0])),
            level_drift_db=level_difference_db(fresh.ravel(), late.ravel()),
            collapsed_seconds=collapsed,
            wrong_notes=tuple(WrongNote(*note) for note in itertools.compress(found, heard & ~pitches.right)),
            collapsed=len(collapsed),
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON. Checkpoints and recipes have "expectation" for the mean output."""
        return {
            "name": self.piece.name,
            "seconds": len(self.target) / self.events.sample_rate_hz,
            "notes": len(self.teacher.right),
            "teacher_pitch_share": self.teacher.share,
            "sample": asdict(self.figures["sample"]),
            "expectation": asdict(self.figures["mean"]),
            "targets_met": self.targets_met,
        }

    def text(self) -> str:
        """The figures for a terminal, with what is good."""
        right, mean = self.teacher.right, self.figures["mean"]
        thirds = ", ".join(f"{third:.2f}" for third in mean.rmse_cqt_thirds_db)
        seconds = len(self.target) / self.events.sample_rate_hz
        lines = [
            f"{self.piece.name}, {seconds:.1f} s in one go against the clean teacher",
            f"  {'':24}{'sample':>18}{'mean':>18}    good: mean",
        ]
        for name, target in TARGETS.items():
            cells = [f"{getattr(output, name):{target.form}}{target.unit}" for output in self.figures.values()]
            verdict = "yes" if self.targets_met[name] else "NO "
            lines.append(f"  {target.label:24}{cells[0]:>18}{cells[1]:>18}    {verdict} ({target.wording})")
        lines += [
            f"  pitch: of the {right.sum()} notes, {len(right)} in all, that have it in the teacher's playing",
            f"  RMSE-CQT of the mean: ± {mean.rmse_cqt_ci95_db:.2f} dB (95%); by thirds of the piece {thirds} dB;",
            f"  {mean.rmse_cqt_50_db:.2f} dB with the floor at -50 dB",
            "  drift: the last third against seconds of it generated from silence",
        ]
        if mean.wrong_notes:
            shown, n_more = mean.wrong_notes[:MOST_WRONG_SHOWN], len(mean.wrong_notes) - MOST_WRONG_SHOWN
            wrong = (f"{pitch_name(one.pitch)} at {one.start_s:.1f} s ({pitch_name(one.found)})" for one in shown)
            more = f", and {n_more} more" if n_more > 0 else ""
            lines.append(f"  wrong (found instead): {', '.join(wrong)}{more}")
        return "\n".join(lines)


def evaluate(
    network: Network,
    places: Sequence[Places],
    seed: int = 0,
    progress: Callable[[int], object] = lambda n_samples: None,
) -> list[NetworkFigures]:
    """Fit, and RMSE-CQT of separate seconds, for some corpora, whose seconds are generated as one batch."""
    all_figures = []
    for (corpus, _, instruments), run in zip(places, seconds_at(network, places, seed, progress), strict=True):
        found = fit(network, [corpus], instrument=None if instruments is None else int(instruments.argmax()))
        floor = split_floor_nats([corpus], "valid", network.config.dither)
        by_output = map(run.rmse_db, (run.sample, run.mean))
        sample, mean = ((*mean_and_ci95(at_80), float(at_50.mean())) for at_80, at_50 in by_output)
        nats = found.nll, floor, found.score_gain
        all_figures.append(NetworkFigures(*nats, len(run.starts), *sample, *mean, found.nll - floor))
    return all_figures


def piece_lengths(corpus: Corpus, most_s: float | None) -> list[tuple[Piece, int]]:
    """The validation pieces of at least 3 s with the samples to play of each: all, or the first `most_s` seconds."""
    rate = corpus.sample_rate_hz
    most = math.inf if most_s is None else int(to_samples(most_s, rate))
    lengths = [(piece, int(min(piece.n_samples, most))) for piece in corpus.split("valid")]
    return [(piece, n) for piece, n in lengths if n >= SHORTEST_PIECE_S * rate]


class Part(NamedTuple):
    """The first samples of a piece of a corpus, at least 3 s, and who plays them: [S] weights, or None."""

    corpus: Corpus
    piece: Piece
    n_samples: int
    instruments: np.ndarray | None


def play_pieces(
    network: Network,
    parts: Sequence[Part],
    *,
    seed: int = 0,
    n_chunks: int | None = 1,
    progress: Callable[[int], object] = lambda n_samples: None,
) -> list[PieceRun]:
    """Play parts of pieces of some corpora of one sample rate as one batch.

    Args:
        n_chunks: in how many chunks to play; 1: in one go, as `synthnet render --chunks off` does with the same seed,
            None: as many as pay (`generate_in_chunks`).
        progress: called with the samples finished since the last call, of the pieces, then of the separate seconds.

    Raises:
        InputError: all of the last third's seconds have something that is left out.
    """
    streams, longest = [], max(part.n_samples for part in parts)
    for corpus, piece, _, instruments in parts:
        events = roll_events(corpus.read_notes(piece), corpus.sample_rate_hz)
        streams += [Stream(events, (seed, 0), instruments, mean) for mean in (False, True)]
    if n_chunks == 1:
        blocks = generate(network, streams, longest, progress=progress)
    else:
        blocks = generate_in_chunks(network, streams, longest, n_chunks, progress=progress)
    sounds = np.concatenate(list(blocks), axis=1).reshape(len(parts), 2, longest)
    places = []
    for corpus, piece, n, instruments in parts:
        rate = corpus.sample_rate_hz
        spread = np.linspace(n * 2 // 3, n - rate, FRESH_SECONDS).astype(int).tolist()
        late = [(piece, start) for start in spread if not piece.leaves_out(start, start + rate)]
        if not late:
            raise InputError(f"{piece.name}: too much of its last third is left out to measure it")
        places.append(Places(corpus, late, instruments))
    runs, fresh = [], seconds_at(network, places, seed, progress)
    for number, (corpus, piece, n, _) in enumerate(parts):
        sample, mean = sounds[number, :, :n]
        target = corpus.read_audio(piece)[:n]
        score = corpus.read_notes(piece), streams[2 * number].events, partials_of(corpus.instrument)
        runs.append(PieceRun(piece, *score, sample, mean, target, fresh[number]))
    return runs
