"""The commands as a person runs them: what they print, what they write, and one line for every fault."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from conftest import SMALL, Run, fault, small_weights

from synthnet import cli
from synthnet.audio.files import read_audio
from synthnet.cli.learn import program_of
from synthnet.corpus import build
from synthnet.corpus.corpus import Corpus, read_corpus
from synthnet.files import sha256
from synthnet.generation.library import read_library
from synthnet.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from synthnet.score.midi import read_score

# ----------------------------------------------------------------------------------- the main job, end to end


def test_train_and_render(run: Run, tiny_corpus: Corpus, tiny_scores: Path, tmp_path: Path) -> None:
    common = ["train", "--preset", "tiny", "--corpus", tiny_corpus.folder, "--set", "evaluate_every=30steps"]
    trained = run(*common, "--steps", 20)
    assert trained.status == 0, trained.err
    folder = tmp_path / "runs" / "trumpet-tiny"
    assert (folder / "curves.png").read_bytes()[:4] == b"\x89PNG"
    for word in ("no loss can be lower", "over the floor", "samples/s", "left", "RMSE-CQT", "score gain"):
        assert word in trained.err
    fault(run(*common, "--steps", 20), "holds a run already", "--resume")
    assert run(*common, "--steps", 40, "--resume").status == 0
    assert run(*common, "--steps", 40, "--out", "whole").status == 0
    for name in ("last", "state"):
        parts, whole = (folder / f"{name}.safetensors", tmp_path / "whole" / f"{name}.safetensors")
        a, b = (load_tensors_of(path) for path in (parts, whole))
        assert all(torch.equal(a[key], b[key]) for key in a)
    fault(run(*common, "--resume", "--steps", 60, "--set", "seed=3"), "was begun with seed 0, not 3")

    song = tiny_scores / "tiny_prelude.mid"
    rendered = run("render", song, "--duration", 0.3, "--checkpoint", folder / "last.safetensors")
    assert rendered.status == 0, rendered.err
    assert "times real time" in rendered.err
    audio = read_audio(tmp_path / "tiny_prelude.wav")
    assert (len(audio.samples), audio.sample_rate_hz) == (13_230, 44_100)


def load_tensors_of(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


def test_corpus_build_and_info(run: Run, tiny_scores: Path, tmp_path: Path) -> None:
    assert run("corpus", "build", "--instrument", "flute", "--scores", tiny_scores).status == 0
    folder = "data/corpora/flute-16000-narrow"
    told = run("corpus", "info", folder)
    assert "flute" in told.out
    assert json.loads(run("corpus", "info", folder, "--json").out)["program"] == 75
    fault(run("train", "--instrument", "cello", "--corpus", folder), "a corpus of flute", "cello")
    assert run("corpus", "build", "--instrument", "flute", "--scores", tiny_scores, "--rate", 8000).status == 0
    assert read_corpus(tmp_path / "data/corpora/flute-8000-narrow").sample_rate_hz == 8_000
    trained = run("train", "--model", "wavenet", "--preset", "tiny", "--instrument", "flute", "--steps", 1)
    assert trained.status == 0, trained.err
    checkpoint = load_checkpoint(tmp_path / "runs" / "flute-tiny" / "last.safetensors")
    assert (checkpoint.sample_rate_hz, checkpoint.config.model) == (8_000, "wavenet")


def test_corpus_build_with_etudes(run: Run, tiny_scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "DEFAULT_SCORES", tiny_scores)
    (tmp_path / "etudes").mkdir()  # a folder of this name is not what the word means

    def pieces(*options: object) -> tuple[list[str], list[str]]:
        result = run("corpus", "build", "--instrument", "guitar", "--out", "c", "--scores", "etudes", *options)
        assert result.status == 0, result.err
        corpus = read_corpus(tmp_path / "c")
        train, valid = ([piece.name for piece in corpus.split(split)] for split in ("train", "valid"))
        return train, valid

    etudes = ["etude_1_scales", "etude_2_leaps", "etude_3_chords", "etude_4_lengths", "etude_5_repeats"]
    first = "etudes/etude_1_scales.mid"
    assert pieces("--minutes", 0.2) == ([*etudes, "tiny_gigue"], ["tiny_prelude"])
    written = (tmp_path / "c" / first).read_bytes()
    with_mine = "--minutes", 0.2, "--scores", tiny_scores / "tiny_gigue.mid"
    assert pieces(*with_mine, "--seed", 0) == ([*etudes, "tiny_gigue"], [])
    assert (tmp_path / "c" / first).read_bytes() == written
    assert pieces(*with_mine, "--seed", 1) == ([*etudes, "tiny_gigue"], [])
    assert (tmp_path / "c" / first).read_bytes() != written

    (tmp_path / "etudes" / "song.mid").write_bytes((tiny_scores / "tiny_gigue.mid").read_bytes())
    assert run("corpus", "build", "--instrument", "guitar", "--out", "c", "--scores", "./etudes").status == 0
    assert [piece.name for piece in read_corpus(tmp_path / "c").pieces] == ["song", "song-end"]


def test_an_instrument_of_ones_own_from_corpus_to_song(run: Run, tiny_scores: Path, song: Path, tmp_path: Path) -> None:
    build = ["corpus", "build", "--rate", 8000, "--scores", tiny_scores]
    own = ["--instrument", "tenor-sax", "--program", 66]
    built = run(*build, *own, "--lowest-pitch", 55, "--highest-pitch", 75)
    assert built.status == 0, built.err
    assert "outside the range of the tenor-sax, 55 to 75" in built.err
    corpus = read_corpus(tmp_path / "data" / "corpora" / "tenor-sax-8000-narrow")
    assert (corpus.instrument, corpus.program) == ("tenor-sax", 66)
    fault(run("train", "--instrument", "alto-sax", "--corpus", corpus.folder), "a corpus of tenor-sax", "alto-sax")
    fault(run("train", "--instrument", "alto-sax"), "alto-sax: no such instrument", "--program")
    trained = run("train", "--instrument", "tenor-sax", "--preset", "tiny", "--steps", 1)
    assert trained.status == 0, trained.err
    other_rate = "tenor-sax-16000-narrow: no corpus there", "tenor-sax-8000-narrow", "--corpus"
    fault(
        run("train", "--instrument", "tenor-sax", "--model", "synthnet", "--preset", "L24", "--steps", 1), *other_rate
    )
    heard = {note.pitch for piece in corpus.split("train") for note in corpus.read_notes(piece)}
    facts = json.loads(run("instruments", "--json").out)[-1]
    assert (facts["name"], facts["program"], facts["path"]) == (
        "tenor-sax",
        66,
        "runs/tenor-sax-tiny/best.safetensors",
    )
    assert (facts["lowest_pitch"], facts["highest_pitch"]) == (min(heard), max(heard))
    rendered = run("render", song, "--instrument", "1=Tenor-Sax", "--duration", 0.1)
    assert "track 1, bass (1 note): tenor-sax, as asked [runs/tenor-sax-tiny/best.safetensors]" in rendered.err

    etudes = ["--scores", "etudes", "--minutes", 0.2, "--lowest-pitch", 60, "--highest-pitch", 80, "--out"]
    voices = []
    for chords in ([], ["--chords"]):
        assert run(*build, *own, *etudes, "etudes", *chords).status == 0
        chordal = read_score(tmp_path / "etudes" / "etudes" / "etude_3_chords.mid").notes
        assert all(60 <= note.pitch <= 80 for note in chordal)
        voices.append(len(chordal))
    assert voices[1] > 2 * voices[0]

    fault(run(*build, "--instrument", "tenor-sax"), "tenor-sax: no such instrument", "--program")
    fault(run(*build, "--instrument", "trumpet", "--program", 57), "the trumpet is known, with program 56")
    fault(run(*build, "--instrument", "trumpet", "--lowest-pitch", 40), "--program")
    fault(run(*build, "--instrument", "trumpet", "--chords"), "--program")
    fault(run(*build, "--instrument", "a/b", "--program", 57), "'a/b': a name is made of")
    fault(run(*build, "--instrument", "tuba", "--program", 128), "--program")


def test_training_from_a_trained_network(
    run: Run, tiny_corpus: Corpus, network: Path, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = ["train", "--corpus", tiny_corpus.folder, "--set", "n_predicted=200"]
    still = ["--steps", 1, "--set", "learning_rate=1e-9"]  # what it starts from is what is left

    def started(*options: object) -> Checkpoint:
        out = tmp_path / "runs" / f"r{len(list(tmp_path.glob('runs/*')))}"
        result = run(*train, *still, "--out", out, *options)
        assert result.status == 0, result.err
        return load_checkpoint(out / "last.safetensors")

    def same(mine: Checkpoint, theirs: Checkpoint) -> bool:
        assert mine.config == theirs.config
        return all(np.allclose(mine.weights[name], theirs.weights[name], atol=1e-6) for name in theirs.weights)

    several = load_checkpoint(many)
    whole = started("--from", many)
    assert same(whole, several.of_one())
    origin = {"file": f"{tmp_path.name}/many.safetensors", "sha256": sha256(many), "instrument": None}
    assert whole.training["started_from"] == origin
    assert whole.instruments == ("trumpet",)
    (tmp_path / "runs" / "many").mkdir()
    (tmp_path / "runs" / "many" / "best.safetensors").write_bytes(many.read_bytes())
    assert same(started("--from", "CELLO"), several.of_one("cello"))
    twice_more = ["--corpus", tiny_corpus.folder, "--corpus", tiny_corpus.folder]
    assert same(started("--from", many, *twice_more), several)
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped" / "trumpet.safetensors").write_bytes(network.read_bytes())
    monkeypatch.setattr(cli.train, "read_library", partial(read_library, shipped=tmp_path / "shipped"))
    shipped = started("--from", "shipped", "--set", "matrix_decay=0.1")  # the trumpet, as of the corpus's program
    assert same(shipped, load_checkpoint(network))
    assert shipped.training["settings"]["matrix_decay"] == 0.1
    assert shipped.training["started_from"]["instrument"] == "trumpet"
    goes_on = run(*train, "--resume", "--steps", 2, "--out", "runs/r0", "--set", "learning_rate=1e-9")
    assert goes_on.status == 0, goes_on.err
    assert load_checkpoint(tmp_path / "runs" / "r0" / "last.safetensors").training["started_from"] == origin

    fault(run(*train, "--resume", "--from", many, "--out", "runs/r0"), "--from is for a new run")
    fault(run(*train, "--from", many, "--set", "channels=12"), "many.safetensors: starts with channels 8, not 12")
    fault(run(*train, "--from", many, "--preset", "cpu"), "starts with filter_width 2, not 3")
    fault(run(*train, "--from", many, "--model", "wavenet"), "starts with model synthnet, not wavenet")
    fault(run(*train, "--from", many, "--set", "velocity=true"), "starts with velocity False, not True")
    fault(run(*train, "--from", many, "--set", "dither=false"), "starts with dither True, not False")
    fault(run("train", "--from", "harp", "--instrument", "flute"), "no instrument 'harp'")
    fault(run("train", "--from", "harp.safetensors", "--instrument", "flute"), "harp.safetensors: no such file")
    assert not (tmp_path / "data").exists()  # told before the corpus is built
    fault(run(*train, "--from", many, "--corpus", tiny_corpus.folder), "learned 3 instruments; a run of 2 cannot")
    fault(run(*train, "--from", "shipped", "--corpus", tiny_corpus.folder), "learned 1 instruments; a run of 2 cannot")
    save_checkpoint(tmp_path / "slow.safetensors", replace(several, sample_rate_hz=8_000))
    fault(run(*train, "--from", "slow.safetensors"), "at 8000 Hz, the corpus", "at 16000 Hz")


def test_a_corpus_without_a_validation_piece_is_refused_before_training(run: Run, song: Path, tmp_path: Path) -> None:
    (tmp_path / "second.mid").write_bytes(song.read_bytes())
    scores = ["--scores", song, "--scores", "second.mid"]
    assert run("corpus", "build", "--instrument", "flute", *scores, "--out", "c").status == 0
    fault(run("train", "--corpus", "c", "--preset", "tiny", "--steps", 1), "no validation piece", "--valid")


def test_resuming_with_another_corpus_or_model_is_refused(run: Run, tiny_corpus: Corpus, tiny_scores: Path) -> None:
    assert run("corpus", "build", "--instrument", "cello", "--scores", tiny_scores, "--out", "c").status == 0
    begun = run("train", "--preset", "tiny", "--corpus", tiny_corpus.folder, "--steps", 1, "--out", "r")
    assert begun.status == 0, begun.err
    fault(run("train", "--corpus", "c", "--out", "r", "--resume"), "instruments trumpet, not cello")
    again = ["train", "--corpus", tiny_corpus.folder, "--out", "r", "--resume"]
    fault(run(*again, "--model", "wavenet"), "model synthnet, not wavenet")
    remembered = run(*again)
    assert "for 1 steps" in remembered.err  # the length that the run was begun with


# --------------------------------------------------------------------------------------------------- faults


def test_faults_of_arguments(run: Run, song: Path, network: Path, tiny_corpus: Corpus, tmp_path: Path) -> None:
    fault(run("train", "--instrument", "harp"), "harp", "trumpet")
    fault(run("train"), "--instrument or --corpus")
    fault(run("train", "--corpus", tiny_corpus.folder, "--preset", "L25"), "L25", "L24")
    fault(run("train", "--corpus", tiny_corpus.folder, "--model", "wavnet"), "wavnet", "wavenet")
    fault(run("train", "--corpus", tiny_corpus.folder, "--minutes", -1), "--minutes")
    fault(run("train", "--corpus", tiny_corpus.folder, "--minutes", "nan"), "minutes")
    fault(run("train", "--corpus", tiny_corpus.folder, "--minutes", 1, "--steps", 5), "give one of them")
    fault(run("train", "--corpus", tiny_corpus.folder, "--epochs", "1e308"), "--epochs")
    fault(run("train", "--corpus", tiny_corpus.folder, "--set", "evaluate_every=1e-30min"), "1e-30min")
    fault(run("train", "--corpus", tiny_corpus.folder, "--device", "meta"), "meta")
    fault(run("train", "--corpus", tiny_corpus.folder, "--resume"), "no run to resume")
    fault(run("train", "--corpus", tiny_corpus.folder, "--device", "nope"), "nope")
    fault(run("train", "--corpus", tiny_corpus.folder, "--set", "channels=2"), "channels")
    fault(run("train", "--corpus", tiny_corpus.folder, "--set", "n_predicted=0"), "n_predicted")
    fault(run("train", "--corpus", tiny_corpus.folder, "--set", "evaluate_every=often"), "often")
    harmonic = ["train", "--corpus", tiny_corpus.folder, "--model", "harmonic", "--set", "n_predicted=100"]
    fault(run(*harmonic, "--out", "new/run"), "too short for the spectra")
    assert not (tmp_path / "new").exists()
    fault(run("corpus", "info", "nowhere"), "nowhere", "not a corpus")
    fault(run("corpus", "build", "--instrument", "trumpet", "--rate", 5), "sample rate 5")
    etudes = ["corpus", "build", "--instrument", "trumpet", "--scores", "etudes"]
    for minutes in (0, 0.1, 61, "nan", "inf"):
        fault(run(*etudes, "--minutes", minutes), "--minutes")
    fault(run(*etudes, "--seed", -1), "--seed")
    fault(run(*etudes[:4], "--minutes", 5), "--minutes", "--scores etudes")
    fault(run(*etudes[:4], "--wide"), "--wide", "--scores etudes")
    fault(run(*etudes[:4], "--seed", 5), "--seed", "--scores etudes")
    fault(run("nonsense"), "nonsense")


def test_help_and_slips_load_few_libraries() -> None:
    """One process runs the words in turn: what is loaded for the first must not hide behind what later ones load."""
    script = (
        "import sys; from synthnet.cli import main\n"
        "for words in sys.argv[1:]:\n"
        "    sys.argv = ['synthnet', *words.split()]\n"
        "    try: main()\n"
        "    except SystemExit: pass\n"
        "    print('loaded', *sys.modules)\n"
    )
    heavy = {"torch", "numba", "scipy", "soundfile", "soxr", "matplotlib", "pretty_midi"}
    light = heavy | {"numpy", "mido", "safetensors", "tqdm"}
    words = ["--help", "--version", "--helpp", "trane", "train --help", "train --helpp", "corpus build --helpp"]
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
    loaded = [set(line.split()[1:]) for line in done.stdout.splitlines() if line.startswith("loaded ")]
    assert len(loaded) == len(words)
    for command, modules in zip(words, loaded, strict=True):
        assert not modules & (heavy if command.startswith(("train", "corpus")) else light), command


def test_settings_of_a_run(run: Run, tiny_corpus: Corpus) -> None:
    train = ["train", "--corpus", tiny_corpus.folder, "--preset", "tiny", "--steps", 1]
    fault(run(*train, "--set", "learning-rate=1"), "learning-rate", "learning_rate", "channels", "evaluate_every")
    fault(run(*train, "--set", "partials=4"), "partials", "channels")
    fault(run(*train[:3], "--model", "harmonic", "--set", "channels=4"), "channels", "partials")
    fault(run(*train, "--set", "seed"), "NAME=VALUE")
    for word in ("seed=1.5", "seed=true", "muon=1", "learning_rate=fast", "learning_rate=nan", "learning_rate=1e400"):
        fault(run(*train, "--set", word), word.partition("=")[0])
    for word in ("batch=0", "anneal_steps=0", "workers=-1", "evaluate_every=20", "channels=big", "velocity=loud"):
        fault(run(*train, "--set", word), word.partition("=")[0])
    trained = run(*train, "--set", "seed=1", "--set", "muon=False", "--set", "channels=12", "--set", "seed=2")
    assert trained.status == 0, trained.err
    checkpoint = load_checkpoint(Path("runs/trumpet-tiny/last.safetensors"))
    settings = checkpoint.training["settings"]
    assert (settings["seed"], settings["muon"], checkpoint.config.channels) == (2, False, 12)


def test_checkpoint_of_a_run_remembers_where_it_came_from(run: Run, tiny_corpus: Corpus, tmp_path: Path) -> None:
    run("train", "--preset", "tiny", "--corpus", tiny_corpus.folder, "--steps", 1, "--out", "r")
    checkpoint = load_checkpoint(tmp_path / "r" / "last.safetensors")
    assert checkpoint.training["corpora"][0]["soundfont_sha256"] == tiny_corpus.soundfont_sha256
    assert checkpoint.training["settings"]["seed"] == 0


def documented_commands() -> list[str]:
    """Every `synthnet ...` line of the READMEs, docs and the Makefile."""
    home = Path(__file__).parents[2]
    pages = [home / "README.md", home / "Makefile"]
    pages += [*sorted(home.glob("docs/*.md")), *sorted(home.glob("recipes/**/README.md"))]
    found = []
    for line in itertools.chain.from_iterable(page.read_text().replace("\\\n", "").splitlines() for page in pages):
        words = line.strip().removeprefix("$(BIN)/").split("#")[0].strip()
        words = re.sub(r"^(\w+=\d+ )+", "", words)  # settings of the shell before the command
        if words.startswith("torchrun"):
            words = words.replace(words[: words.index("-m ") + 3], "")
        if words.startswith("synthnet ") and not words.endswith("`"):
            found.append(words)
    return found


@pytest.mark.parametrize("line", documented_commands())
def test_documented_commands_are_understood(line: str) -> None:
    words = shlex.split(re.sub(r"\$\(\w+\)|\$\w+COUNT", "4", re.sub(r"\$\w+TASK_ID", "1", line)))[1:]
    command: click.Command = cli.cli
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words.pop(0))
        assert found is not None, line
        command = found
    command.make_context("synthnet", words)


def test_enough_commands_are_documented() -> None:
    assert len(documented_commands()) > 8


def test_pictures_and_files_of_the_readme_exist() -> None:
    home = Path(__file__).parents[2]
    text = (home / "README.md").read_text()
    linked = [target for target in re.findall(r"\]\(([^)]+)\)", text) if not target.startswith("http")]
    assert len(linked) >= 3
    for target in linked:
        assert (home / target.partition("#")[0]).exists(), target
    assert not re.search(r"@[A-Z]+@", text)


SCRIPT = [sys.executable, "-m", "synthnet"]


def test_closed_streams_and_foreign_settings_do_no_harm(tmp_path: Path, song: Path, network: Path) -> None:
    words = [
        *SCRIPT,
        "render",
        str(song),
        "--checkpoint",
        str(network),
        "--duration",
        "0.05",
        "-o",
        str(tmp_path / "o.wav"),
    ]
    for closed in ("2>&-", "<&- >&- 2>&-"):
        subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *words], check=True, stdout=subprocess.PIPE, text=True)
        assert len(read_audio(tmp_path / "o.wav").samples) == 2_205
        (tmp_path / "o.wav").unlink()
    foreign = os.environ | {"MPLBACKEND": "nonsense", "PYTHONIOENCODING": "ascii"}
    script = (
        "import sys; from synthnet.cli import main; sys.argv[1:] = ['corpus', 'build', '--help']\n"
        "try: main()\nexcept SystemExit: pass\nimport synthnet.evaluation.plots"
    )
    done = subprocess.run([sys.executable, "-c", script], env=foreign, capture_output=True, text=True, check=True)
    assert "tudes" in done.stdout


def test_without_a_folder_for_compiled_code_it_compiles_and_says_so() -> None:
    script = (
        "from numba.core.caching import CacheImpl; CacheImpl._locator_classes = []\n"
        "from synthnet.kernels.fastmath import tanh; print(tanh(0.0))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "0.0\n"
    assert done.stderr.startswith("compiled code cannot be kept")
    assert done.stderr.count("\n") == 1


def test_a_terminated_command_leaves_nothing(tmp_path: Path, song: Path, network: Path) -> None:
    script = (
        "import os, signal, synthnet.audio.mix as mix; from synthnet.cli import main\n"
        "def play(*_):\n    os.kill(os.getpid(), signal.SIGTERM)\n    yield\n"
        "mix.Mixer.blocks = play; main()"
    )
    words = ["render", str(song), "--checkpoint", str(network), "-o", str(tmp_path / "o.wav")]
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr.endswith("synthnet: interrupted\n")
    assert not list(tmp_path.glob("o*.wav"))


def test_no_words_are_a_call_for_help(run: Run) -> None:
    assert run() == run("--help")


def test_what_strangers_wrote_is_shown_without_escape_sequences(run: Run, tmp_path: Path) -> None:
    name, training = "a\x1b[31m", {"\x07key": "\x9b2J"}
    save_checkpoint(tmp_path / "x.safetensors", Checkpoint(SMALL, 16_000, (name,), training, small_weights()))
    for words in ("info --checkpoint x.safetensors", "evaluate x.safetensors", "info --preset \x1b[31m"):
        result = run(*words.split(" "))
        assert result.out + result.err
        assert not set("\x1b\x07\x9b") & set(result.out + result.err)
    assert "a\\x1b[31m" in run("info", "--checkpoint", "x.safetensors").out


def test_what_help_and_docs_show_of_learn_needs_no_program(run: Run) -> None:
    project = Path(cli.__file__).parents[2]
    texts = [run("--help").out, run("learn", "--help").out, *(p.read_text("utf-8") for p in project.glob("docs/*.md"))]
    shown = [line for text in texts for line in re.findall(r"synthnet learn (.+?) --name ([\w-]+)", text)]
    assert len(shown) >= 4
    for takes, name in shown:
        assert all(take.endswith(".wav") for take in takes.split()), takes
        program_of(name)


@pytest.mark.parametrize("group", ["corpus", "inspect", "listen", "recipe"])
def test_no_line_of_a_list_of_commands_is_cut_off(run: Run, group: str) -> None:
    assert "..." not in run(group, "--help").out.split("Commands:")[1]


def test_an_sfz_instrument_is_no_sound_file(run: Run, tmp_path: Path) -> None:
    for name in ("violin.sfz", "violin.wav"):
        fault(run("export", "violin", "-o", name), name, "is a folder")
        assert not (tmp_path / name).exists()
