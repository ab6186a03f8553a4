"""What a piece leaves out is never measured: a burst of noise there changes no figure."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synthnet.audio.mulaw import dither_floor_nats
from synthnet.corpus.corpus import Corpus, write_piece
from synthnet.evaluation.baselines import Sampler
from synthnet.evaluation.free_run import spread_places
from synthnet.evaluation.likelihood import split_floor_nats
from synthnet.evaluation.measure import measure_recordings
from synthnet.evaluation.pieces import Part, PieceRun, play_pieces
from synthnet.files import InputError
from synthnet.models import build_model, preset_config

SPAN = (16_100, 20_000)  # within the second second


@pytest.fixture
def disturbed(tiny_corpus: Corpus, tmp_path: Path) -> Corpus:
    """The tiny corpus with noise in a span of each piece, which is left out."""
    corpus = replace(tiny_corpus, folder=Path(shutil.copytree(tiny_corpus.folder, tmp_path / "corpus")))
    pieces = []
    for piece in corpus.pieces:
        samples = corpus.read_audio(piece)
        samples[slice(*SPAN)] = np.random.default_rng(0).normal(0, 0.2, SPAN[1] - SPAN[0])
        pieces.append(write_piece(corpus, replace(piece, left_out=(SPAN,)), samples, corpus.read_notes(piece)))
    return replace(corpus, pieces=tuple(pieces))


def test_a_player_is_not_measured_there(tiny_corpus: Corpus, disturbed: Corpus) -> None:
    clean = tiny_corpus.read_audio(tiny_corpus.split("valid")[0])
    (figures,) = measure_recordings(disturbed, lambda notes, n, rate: clean).values()
    assert figures.rmse_cqt_db < 0.3
    assert abs(figures.level_db) < 1e-3
    whole = replace(disturbed, pieces=tuple(replace(piece, left_out=()) for piece in disturbed.pieces))
    (figures,) = measure_recordings(whole, lambda notes, n, rate: clean).values()
    assert figures.rmse_cqt_db > 3


def test_the_dither_floor_and_the_seconds_to_generate(tiny_corpus: Corpus, disturbed: Corpus) -> None:
    pieces = disturbed.split("valid")
    clean = tiny_corpus.read_audio(tiny_corpus.split("valid")[0])
    assert split_floor_nats([disturbed], "valid") == dither_floor_nats(np.delete(clean, slice(*SPAN)))
    for piece, start in spread_places(disturbed, 9, None).seconds:
        assert not piece.leaves_out(start, start + 16_000)
    everywhere = replace(pieces[0], left_out=((8_000, 12_000), (20_000, pieces[0].n_samples - 100)))
    with pytest.raises(InputError, match="less than a second at a time is left"):
        spread_places(replace(disturbed, pieces=(everywhere,)), 2, None)


def test_the_sampler_has_no_sample_of_it(tiny_corpus: Corpus, disturbed: Corpus) -> None:
    n_notes = len(Sampler.from_corpus(tiny_corpus).pitch)
    sampler = Sampler.from_corpus(disturbed)
    (piece,) = disturbed.split("train")
    notes = disturbed.read_notes(piece)
    inside = sum(piece.leaves_out(round(16_000 * note.start_s), round(16_000 * note.end_s)) for note in notes)
    assert inside > 0
    assert len(sampler.pitch) == n_notes - inside
    recording = disturbed.read_samples(piece)
    for sound in sampler.audio:
        places = np.flatnonzero(recording[: len(recording) - len(sound) + 1] == sound[0])
        at = [start for start in places.tolist() if (recording[start : start + len(sound)] == sound).all()]
        assert any(not piece.leaves_out(start, start + len(sound)) for start in at)


def test_a_piece_in_one_go(tiny_corpus: Corpus, disturbed: Corpus) -> None:
    network = build_model(preset_config("synthnet", "tiny")).eval().requires_grad_(False)
    (piece,) = disturbed.split("valid")
    (run,) = play_pieces(network, [Part(disturbed, piece, piece.n_samples, None)])
    clean = tiny_corpus.read_audio(tiny_corpus.split("valid")[0])
    fresh = replace(run.fresh, mean=run.fresh.target)
    figures = replace(run, mean=clean, fresh=fresh, piece=piece).figures["mean"]
    assert figures.rmse_cqt_db < 0.3
    assert abs(figures.level_db) < 1e-3
    assert (figures.pitch_share, figures.collapsed_seconds) == (1.0, ())
    everywhere = replace(piece, left_out=((16_000, piece.n_samples - 8_000),))
    with pytest.raises(InputError, match="too much of its last third is left out"):
        play_pieces(network, [Part(disturbed, everywhere, piece.n_samples, None)])
    assert isinstance(run, PieceRun)
    assert not math.isnan(figures.rmse_cqt_drift_db)
