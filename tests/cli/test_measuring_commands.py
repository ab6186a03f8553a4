"""`synthnet compare`, `evaluate` and `info` as a person runs them."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import SMALL, Run, fault, small_weights
from fuzz import damaged_bytes

from synthnet.audio.files import read_audio, write_audio
from synthnet.corpus.corpus import Corpus
from synthnet.generation.library import read_file
from synthnet.models import build_model, preset_config
from synthnet.models.checkpoint import Checkpoint, arrays_of, load_checkpoint, save_checkpoint

RATE = 16_000


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A fresh network of two instruments, among runs."""
    torch.manual_seed(0)
    config = preset_config("synthnet", "tiny", styles=2)
    weights = arrays_of(build_model(config).state_dict())
    path = tmp_path / "runs" / "two" / "best.safetensors"
    path.parent.mkdir(parents=True)
    save_checkpoint(path, Checkpoint(config, RATE, ("trumpet", "cello"), {"steps": 1}, weights))
    return path


def test_evaluate_prints_figures_and_keeps_them(run: Run, network: Path, tiny_corpus: Corpus, tmp_path: Path) -> None:
    words = ["evaluate", network, "--corpus", tiny_corpus.folder, "--seconds", 2]
    (tmp_path / "other").mkdir()
    write_audio(tmp_path / "other" / "tiny_prelude.wav", np.ones(RATE, np.float32) / 9, RATE)
    evaluated = run(*words, "--piece-seconds", 3, "--json", "--plot", "e.png", "--keep", "--audio", "o=other")
    assert evaluated.status == 0, evaluated.err
    figures = json.loads(evaluated.out)
    assert list(figures["systems"]) == ["sample", "mean", "o", "reference"]
    assert figures["systems"]["mean"]["tiny_prelude"]["rmse_cqt_db"] == pytest.approx(
        figures["pieces"][0]["expectation"]["rmse_cqt_db"]
    )
    assert figures["excess"] == pytest.approx(figures["valid_nll"] - figures["dither_floor"])
    assert figures["seconds"] == 2
    (piece,) = figures["pieces"]
    assert (piece["name"], piece["seconds"]) == ("tiny_prelude", 3.0)
    assert set(piece["targets_met"]) <= set(piece["expectation"])
    assert (tmp_path / "e.png").read_bytes()[:4] == b"\x89PNG"
    kept = load_checkpoint(network).figures["evaluations"]["trumpet"]
    assert kept["rmse_cqt_expectation_db"] == figures["rmse_cqt_expectation_db"]
    assert "wrong_notes" not in kept["pieces"][0]["expectation"]
    listed = json.loads(run("instruments", "--json").out)[-2]
    assert (listed["name"], listed["rmse_cqt_db"]) == ("trumpet", piece["expectation"]["rmse_cqt_db"])
    shown = run(*words, "--piece-seconds", 0)
    assert f"{figures['rmse_cqt_expectation_db']:.2f} ± " in shown.out
    assert "in one go" not in shown.out
    assert re.search(r"100% .* 3\.0 of 3\.0 s, .* x real time, separate seconds", shown.err)
    assert re.search(r"100% .* 4\.5 of 4\.5 s", evaluated.err)  # the piece, then the seconds of its last third


def test_evaluate_measures_a_harmonic_instrument_beside_its_baselines(
    run: Run, tiny_corpus: Corpus, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / "h.safetensors", Checkpoint(SMALL, 44_100, ("trumpet",), {}, small_weights()))
    words = ["evaluate", "h.safetensors", "--corpus", tiny_corpus.folder]
    # Another program's files: the reference itself at half the level in two trainings, one with faint noise.
    (piece,) = tiny_corpus.split("valid")
    sound = read_audio(tiny_corpus.audio_path(piece)).samples / 2
    noise = 1e-3 * np.random.default_rng(0).standard_normal(len(sound)).astype(np.float32)
    for name, samples in (("one", sound), ("two", sound + noise)):
        (tmp_path / name).mkdir()
        write_audio(tmp_path / name / "tiny_prelude.wav", samples, RATE)
    others = ["--audio", "other=one", "--audio", "other=two"]
    found = json.loads(run(*words, *others, "--json").out)
    assert list(found) == ["network", "static partials", "sampler", "other", "reference"]
    rmse_db = {name: found[name]["tiny_prelude"]["rmse_cqt_db"] for name in ("reference", "sampler", "network")}
    assert 0 == rmse_db["reference"] < rmse_db["sampler"] < rmse_db["network"]
    assert found["reference"]["tiny_prelude"]["f0_cents"] == 0
    exact, noisy = (training["tiny_prelude"]["rmse_cqt_db"] for training in found["other"]["trainings"])
    assert exact < noisy
    assert found["other"]["over_trainings"]["rmse_cqt_db"][0] == pytest.approx((exact + noisy) / 2)
    shown = run(*words, *others, "--keep")
    (kept,) = read_file(tmp_path / "h.safetensors").players
    assert (kept.rmse_cqt_db, kept.evaluated) == (rmse_db["network"], True)
    assert f"{found['sampler']['tiny_prelude']['log_spectral_db']:.2f}" in shown.out
    assert "mean of 2 trainings" in shown.out
    assert re.search(r"100% .* x real time, playing: sampler, tiny_prelude", shown.err)
    assert re.search(r"100% .* x real time, reference, tiny_prelude", shown.err)
    fault(run(*words, "--audio", "other=nowhere"), "--audio other=nowhere")
    fault(run(*words, "--audio", "other"), "--audio", "NAME=FOLDER")
    fault(run(*words, "--audio", "other=."), "no tiny_prelude.wav")


def test_evaluate_takes_the_corpus_that_the_network_learned_from(run: Run, tmp_path: Path) -> None:
    learned = {"corpora": [{"instrument": "trumpet-mine"}]}
    save_checkpoint(tmp_path / "h.safetensors", Checkpoint(SMALL, 44_100, ("trumpet-mine",), learned, small_weights()))
    fault(run("evaluate", "h.safetensors"), "--corpus FOLDER says where the corpus of trumpet-mine is")
    assert not (tmp_path / "data").exists()  # the teacher's trumpet was not built instead


def test_errors_of_evaluate(run: Run, network: Path, tiny_corpus: Corpus) -> None:
    words = ["evaluate", network, "--corpus", tiny_corpus.folder]
    fault(run(*words, "--piece-seconds", 2), "3 s")
    fault(run(*words, "--plot", "e.jpg"), "e.jpg")
    fault(run(*words, "--piece-seconds", 0, "--plot", "e.png"), "--piece-seconds")
    fault(run(*words, "--instrument", "cello:0.5+trumpet:0.5"), "does not play")
    fault(run("evaluate", network, "--corpus", "nowhere"), "nowhere")


@pytest.mark.parametrize(
    ("model", "preset", "parameters"), [("synthnet", "L24", 7_354_112), ("deepvoice", "L26", 68_927_104)]
)
def test_info(run: Run, model: str, preset: str, parameters: int) -> None:
    facts = json.loads(run("info", "--model", model, "--preset", preset, "--json").out)
    assert facts["parameters"] == parameters
    assert (facts["layers"], facts["receptive_field_samples"]) == ((24, 16_383) if preset == "L24" else (26, 16_384))
    assert facts["receptive_field_s"] == {"L24": 1.0239, "L26": 1.0240}[preset]
    assert f"{parameters:,}" in run("info", "--model", model, "--preset", preset).out


def test_info_does_not_list_a_model_that_it_refuses(run: Run) -> None:
    refused = run("info", "--model", "harmonic")
    fault(refused, "--model", "'harmonic' is not one of", "deepvoice")
    assert refused.err.count("harmonic") == 1


def test_info_of_a_checkpoint(run: Run, network: Path, tmp_path: Path) -> None:
    shown = run("info", "--checkpoint", network).out
    assert re.search(r"instruments +trumpet, cello\n", shown)
    assert re.search(r"training\n  steps +1\n", shown)
    (tmp_path / "song.mid").write_bytes(b"MThd")
    fault(run("info", "--checkpoint", "song.mid"), "damaged or not a checkpoint")
    fault(run("info", "--preset", "L23"), "L23")


def test_compare_of_equal_files_is_zero(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write_audio(tmp_path / "a.wav", 0.1 * rng.standard_normal(2 * RATE).astype(np.float32), RATE)
    figures = json.loads(run("compare", "a.wav", "a.wav", "--json").out)
    assert figures["level_db"] == 0
    assert figures["rmse_cqt_db"] == 0
    assert figures["seconds"] == [0, 0]


def test_compare_resamples_and_mixes_down_with_a_note(run: Run, tmp_path: Path) -> None:
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(2 * 44_100) / 44_100)
    soundfile.write(tmp_path / "stereo.wav", np.stack([tone, tone], 1), 44_100)
    write_audio(tmp_path / "mono.wav", 0.3 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE), RATE)
    result = run("compare", "mono.wav", "stereo.wav", "--json")
    assert "stereo, mixed down" in result.err
    assert "resampled from 44100 Hz to 16000 Hz" in result.err
    assert json.loads(result.out)["rmse_cqt_db"] < 3


def test_compare_takes_the_shorter_and_draws(run: Run, tmp_path: Path) -> None:
    sound = 0.1 * np.random.default_rng(0).standard_normal(2 * RATE).astype(np.float32)
    write_audio(tmp_path / "long.wav", sound, RATE)
    write_audio(tmp_path / "short.wav", sound[:-4_000] / 2, RATE)
    result = run("compare", "long.wav", "short.wav", "--plot", "p.png")
    assert result.status == 0, result.err
    assert "lengths differ" in result.err
    assert re.search(r"level +-6\.0 dB", result.out)
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"


def test_errors_of_compare(run: Run, tmp_path: Path) -> None:
    write_audio(tmp_path / "good.wav", np.zeros(RATE, np.float32), RATE)
    (tmp_path / "bad.wav").write_bytes(b"RIFF....WAVEnothing")
    for pair in (["bad.wav", "good.wav"], ["good.wav", "bad.wav"], ["missing.wav", "good.wav"]):
        fault(run("compare", *pair), next(name for name in pair if name != "good.wav"))
    fault(run("compare", "good.wav", "good.wav", "--plot", "p.jpg"), "p.jpg")


def test_mutated_wav_files_compare_or_are_refused(run: Run, tmp_path: Path) -> None:
    rng, outcomes = random.Random(0), set()
    write_audio(tmp_path / "good.wav", 0.1 * np.sin(np.arange(RATE // 8)).astype(np.float32), RATE)
    original = (tmp_path / "good.wav").read_bytes()
    for number in range(100):
        # Most damage goes to the header, where it can do harm.
        head = damaged_bytes(original[:44], rng) if number % 4 else original[:44]
        (tmp_path / "bad.wav").write_bytes(head + (original[44:] if number % 4 else damaged_bytes(original[44:], rng)))
        result = run("compare", "good.wav", "bad.wav", "--json")
        outcomes.add(result.status)
        if result.status:
            fault(result, "bad.wav")
        else:
            assert np.isfinite(json.loads(result.out)["rmse_cqt_db"])
    assert outcomes == {0, 2}
