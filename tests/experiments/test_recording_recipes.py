"""The recipes that learn from recordings, command by command, on miniatures of what they learn from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import Run

from synthnet.cli import cli
from synthnet.corpus.corpus import read_corpus
from synthnet.models.checkpoint import credit_of, load_checkpoint
from tests.experiments.recipe_scripts import recipe_script

RATE, SECONDS = 44_100, 12


@pytest.fixture
def musicnet(tmp_path: Path) -> Path:
    """Three pieces of a made-up cello in the layout of MusicNet, labels 30 ms late."""
    rng, folder = np.random.default_rng(0), tmp_path / "musicnet"
    about = "id,composer,composition,movement,ensemble,source,transcriber,catalog_name,seconds\n"
    for number, part in ((2217, "train"), (2293, "train"), (2298, "test")):
        about += f'{number},Bach,"Cello Suite, No. 3",Prelude,Solo Cello,European Archive,x,BWV1009,{SECONDS}\n'
        samples, rows = rng.normal(0, 1e-4, SECONDS * RATE), []
        t = np.arange(round(0.4 * RATE)) / RATE
        for start in range(RATE // 2, (SECONDS - 1) * RATE, RATE // 2):
            pitch = int(rng.choice([40, 43, 48, 52]))
            f0 = 440 * 2 ** ((pitch - 69) / 12)
            tone = sum(np.sin(2 * np.pi * f0 * h * t) / h for h in range(1, 12))
            samples[start : start + len(t)] += 0.1 * tone * np.minimum(1, np.minimum(t, t[::-1]) / 0.02)
            late = start + round(0.03 * RATE)
            rows.append(f"{late},{late + len(t)},43,{pitch},{start / RATE},0.5,Eighth")
        for kind in ("data", "labels"):
            (folder / f"{part}_{kind}").mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{part}_data/{number}.wav", samples, RATE, subtype="FLOAT")
        head = "start_time,end_time,instrument,note,start_beat,end_beat,note_value"
        (folder / f"{part}_labels/{number}.csv").write_text("\n".join([head, *rows]) + "\n")
    (folder / "musicnet_metadata.csv").write_text(about)
    return folder


def test_the_real_cello_from_its_dataset_to_its_figures(musicnet: Path, tmp_path: Path, run: Run) -> None:
    calls = recipe_script("real_cello/run").commands(str(musicnet), "0.0001", "tiny")
    quick = {"train": ("--set", "channels=8"), "evaluate": ("--seconds", "1", "--piece-seconds", "0", "--json")}
    for words in calls:
        result = run(*words, *quick.get(words[0], ()))
        assert result.status == 0, result.err
    corpus = read_corpus(tmp_path / "data/corpora/real-cello-44100-wide")
    assert [(piece.name, piece.split) for piece in corpus.pieces] == [
        ("2217", "valid"),
        ("2293", "train"),
        ("2298", "train"),
    ]
    assert (corpus.sample_rate_hz, corpus.program, corpus.pieces[0].labels) == (RATE, 42, "performed")
    starts = np.array([note.start_s for note in corpus.read_notes(corpus.pieces[0])])
    assert np.diff(starts) == pytest.approx(0.5, abs=0.02)
    checkpoint = load_checkpoint(tmp_path / "runs/real-cello/best.safetensors")
    assert credit_of(checkpoint) == "MusicNet (Thickstun et al. 2017), European Archive, CC BY 4.0"
    assert checkpoint.sample_rate_hz == RATE
    assert json.loads(result.out)["rmse_cqt_db"] > 0
    assert (corpus.folder / "report.png").exists()
    shutil.rmtree(corpus.folder)


def test_every_command_of_the_recipes_is_one(tmp_path: Path) -> None:
    scripts = [recipe_script(f"{name}/run") for name in ("recordings", "real_cello")]
    calls = [words for script in scripts for words in script.commands("FOLDER")]
    assert [words[:2] for words in calls[:2]] == [("corpus", "import"), ("corpus", "report")]
    for words in calls:
        command, rest = cli, list(words)
        with cli.make_context("synthnet", ["--help"], resilient_parsing=True) as context:
            while hasattr(command, "get_command") and rest:
                command = command.get_command(context, rest.pop(0))
            command.make_context(" ".join(words), rest)  # knows every option
