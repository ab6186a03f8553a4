"""Damaged inputs of every format: each is read, or is an InputError of one line, soon and in little memory.

    python tests/fuzz.py [NUMBER] [SEED]

prints how many of each format were read and refused. Anything else ends it, with the damaged file kept.
"""

from __future__ import annotations

import contextlib
import json
import random
import resource
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from conftest import SMALL, melody, small_weights
from safetensors.numpy import load, save

from synthnet.audio.files import read_audio
from synthnet.corpus.corpus import corpus_info, format_info, read_corpus
from synthnet.experiments.recipe import read_recipe
from synthnet.experiments.results import FINISHED, Outcome, as_markdown, write_results
from synthnet.files import InputError, sha256
from synthnet.generation.library import read_file
from synthnet.generation.render import Settings, render_in_memory
from synthnet.models import build_model, preset_config
from synthnet.models.checkpoint import Checkpoint, arrays_of, save_checkpoint
from synthnet.recordings.datasets import read_dataset
from synthnet.recordings.pairs import anchors_in, notes_in
from synthnet.recordings.report import REPORT, TakeReport, format_reports, read_reports, summary, write_reports
from synthnet.score.midi import midi_bytes, read_score
from synthnet.score.notes import Note, Score, Track
from synthnet.training.run import training_rows

LONGEST_S = 10  # of a case; far more than any takes, on a busy machine too
MOST_BYTES = 500 << 20
NASTY: list[Any] = [
    None, True, [], {}, "", "x", "../../x", "\x1b[31m", "\0", "\ud800", -1, 0, 1, 3.5, 1e308, float("nan"),
    float("inf"), 10**30, 2**63, [1, 2], {"a": 1}, ["x"],
]  # fmt: skip
RECIPE = """title = "t"
shows = "s"
[common]
model = ["synthnet", "wavenet"]
preset = "tiny"
instrument = "trumpet"
samples = 4_000
evaluations = 2
learning_rate = 0.001
anneal = true
[scale.cpu]
channels = 8
[scale.cpu.where.wavenet]
seed = 3
[paper.synthnet]
trumpet = [8.9, 0.95]
layers = 24
"""


def damaged_bytes(data: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, put in, left out, doubled or cut off."""
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        place, length = rng.randrange(len(changed) + 1), rng.randrange(1, 9)
        match rng.randrange(6):
            case 0 | 1:
                changed[place : place + 1] = bytes([rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])])
            case 2:
                changed[place:place] = rng.randbytes(length)
            case 3:
                del changed[place : place + length]
            case 4:
                changed[place:place] = changed[place : place + 8 * length]
            case 5 if rng.random() < 0.3:
                del changed[place:]
    return bytes(changed)


def damaged_value(value: Any, rng: random.Random) -> Any:
    """A plain value with another somewhere in it, or something left out, put in or nested deeply."""
    if isinstance(value, dict | list) and value and rng.random() < 0.85:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key, copy = rng.choice(keys), value.copy()
        if rng.random() < 0.1:
            del copy[key]
        else:
            copy[key] = damaged_value(value[key], rng)
        return copy
    if rng.random() < 0.03:
        return json.loads("[" * 900 + "]" * 900)
    if isinstance(value, int | float) and rng.random() < 0.5:
        return rng.choice([-value, value * 2, value + 1, value * 1_000_000, str(value)])
    return rng.choice(NASTY)


def damaged_json(data: bytes, rng: random.Random) -> bytes:
    """A JSON text with other bytes or another value, or nested more deeply than can be read."""
    if rng.random() < 0.02:
        return b"[" * 100_000
    if rng.random() < 0.3:
        return damaged_bytes(data, rng)
    return json.dumps(damaged_value(json.loads(data), rng)).encode()


def damaged_lines(data: bytes, rng: random.Random) -> bytes:
    """JSON lines, one of them damaged."""
    lines = data.splitlines()
    place = rng.randrange(len(lines))
    return b"\n".join([*lines[:place], damaged_json(lines[place], rng), *lines[place + 1 :]])


def damaged_toml(data: bytes, rng: random.Random) -> bytes:
    """A TOML text with other bytes or another value."""
    if rng.random() < 0.4:
        return damaged_bytes(data, rng)
    lines = data.decode().splitlines()
    place = rng.choice([number for number, line in enumerate(lines) if "=" in line])
    nasty = [
        "-1",
        "0",
        "nan",
        "inf",
        "1e300",
        "''",
        "[]",
        "[1, 2]",
        "{}",
        "true",
        "'../x'",
        "9" * 30,
        "[" * 3000,
        "2030-01-01",
    ]
    lines[place] = f"{lines[place].partition('=')[0]} = {rng.choice(nasty)}"
    return "\n".join(lines).encode()


def damaged_table(data: bytes, rng: random.Random) -> bytes:
    """A CSV text with other bytes or another value."""
    if rng.random() < 0.4:
        return damaged_bytes(data, rng)
    rows = [line.split(",") for line in data.decode().splitlines()]
    row = rng.choice(rows)
    nasty = ["", "-1", "nan", "inf", "1e300", "9" * 30, '"', "x" * 200_000, "\0", "0x10", "1_0", "../x", "\ud7ff"]
    row[rng.randrange(len(row))] = rng.choice(nasty)
    return "\n".join(",".join(row) for row in rows).encode()


def damaged_tensors(data: bytes, rng: random.Random) -> bytes:
    """A checkpoint with other bytes, other metadata or other numbers."""
    if rng.random() < 0.3:
        return damaged_bytes(data, rng)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    text, arrays = header["__metadata__"]["synthnet"], load(data)
    if rng.random() < 0.6:
        text = damaged_json(text.encode(), rng).decode(errors="replace")
    else:
        name = rng.choice(sorted(arrays))
        value = arrays[name].copy()
        if rng.random() < 0.5:
            value.flat[rng.randrange(value.size)] = (
                rng.choice([0, -1, 3, 1e9, 1e38, np.nan, np.inf]) if value.dtype.kind == "f" else -1
            )
        else:
            value = rng.choice([value.astype(np.int32), value.astype(np.float64), value[:-1], value[None]])
        arrays[name] = np.ascontiguousarray(value)
    return save(arrays, {"synthnet": text})


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """MemoryError beyond MOST_BYTES more than now, TimeoutError after LONGEST_S."""

    def late(*_: object) -> None:
        raise TimeoutError(f"more than {LONGEST_S} s")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    former = signal.signal(signal.SIGALRM, late)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MOST_BYTES, before[1]))
    signal.alarm(LONGEST_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)
        resource.setrlimit(resource.RLIMIT_AS, before)


class Formats:
    """A good file of each format below a folder, how it is damaged, and how it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        song, self.short = midi_bytes(melody(1)), Score((Track((Note(60, 90, 0.0, 0.02),)),))
        (folder / "song.mid").write_bytes(song)
        riff = b"RMIDdata" + len(song).to_bytes(4, "little") + song
        (folder / "song.rmi").write_bytes(b"RIFF" + len(riff).to_bytes(4, "little") + riff)
        samples = np.round(8_000 * np.sin(np.arange(4_000) / 5)).astype(np.int16)
        for name in ("sound.wav", "sound.flac"):
            soundfile.write(folder / name, samples, 8_000)
        network = build_model(preset_config("synthnet", "tiny"))
        of_one = {"corpora": [{"program": 56, "gain": 0.5}], "ranges": [{"lowest_pitch": 40, "highest_pitch": 70}]}
        for name, config, weights in (
            ("harmonic.safetensors", SMALL, small_weights()),
            ("network.safetensors", network.config, arrays_of(network.state_dict())),
        ):
            figures = {"validation": {"rmse_cqt_db": 8.5}}
            save_checkpoint(folder / name, Checkpoint(config, 8_000, ("trumpet",), of_one, weights, figures=figures))
        self.corpus = folder / "corpus"
        (self.corpus / "audio").mkdir(parents=True)
        (self.corpus / "scores").mkdir()
        soundfile.write(self.corpus / "audio" / "a.flac", samples, 8_000)
        columns = {"pitch": [60, 62], "velocity": [90, 80], "start_s": [0, 0.2], "end_s": [0.2, 0.4]}
        self.score, self.manifest = self.corpus / "scores" / "a.json", self.corpus / "manifest.json"
        self.score.write_text(json.dumps(columns))
        checksums = {"score_sha256": sha256(self.score), "audio_sha256": sha256(self.corpus / "audio" / "a.flac")}
        piece = {"name": "a", "split": "train", "n_samples": 4_000, "peak": 0.2, "source": "a.mid", "source_sha256": ""}
        about = {"version": 1, "instrument": "trumpet", "program": 56, "sample_rate_hz": 8_000, "gain": 3.5}
        font = {"soundfont": "x.sf2", "soundfont_sha256": "", "fluidsynth": "2.3.1"}
        self.manifest.write_text(json.dumps({**about, **font, "pieces": [{**piece, **checksums}]}))
        self.recipe, self.out = folder / "recipe", folder / "out"
        self.recipe.mkdir()
        (self.recipe / "recipe.toml").write_text(RECIPE)
        self.run = read_recipe(self.recipe).runs[0].folder(self.out)
        piece_figures = {"expectation": {"pitch_share": 0.9}, "teacher_pitch_share": 0.95}
        names = "valid_nll dither_floor excess score_gain rmse_cqt_db rmse_cqt_ci95_db rmse_cqt_expectation_db"
        final = dict.fromkeys(f"{names} rmse_cqt_expectation_ci95_db".split(), 2.5) | {"piece": piece_figures}
        facts = {"samples_an_epoch": 4_000, "corpora": [{"gain": 0.5}], "commit": "abc", "machine": {"processor": "x"}}
        Outcome(FINISHED, facts, {"trumpet": final}).write(self.run)
        rows = [{"step": n, "elapsed_s": 1.5 * n, "loss": 3.0, "train_nll": 2.5} for n in (10, 20)]
        rows += [{"step": 20, "elapsed_s": 31.0, "rmse_cqt_db": 9.5, "evaluation_s": 1.0}]
        (self.run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.make_recordings(folder / "recordings")
        self.table: dict[str, tuple[Path, Callable[[bytes, random.Random], bytes], Callable[[Path], object]]] = {
            "MIDI": (folder / "song.mid", damaged_bytes, read_score),
            "RIFF": (folder / "song.rmi", damaged_bytes, read_score),
            "WAV": (folder / "sound.wav", damaged_bytes, lambda path: read_audio(path, 16_000)),
            "FLAC": (folder / "sound.flac", damaged_bytes, lambda path: read_audio(path, 16_000)),
            "harmonic": (folder / "harmonic.safetensors", damaged_tensors, self.play),
            "network": (folder / "network.safetensors", damaged_tensors, self.build),
            "manifest": (self.manifest, damaged_json, lambda path: format_info(corpus_info(read_corpus(self.corpus)))),
            "score": (self.score, damaged_json, self.read_notes),
            "run": (self.run / "run.json", damaged_json, self.results),
            "metrics": (self.run / "metrics.jsonl", damaged_lines, lambda path: training_rows(path.parent)),
            "notes": (self.notes, damaged_table, notes_in),
            "anchors": (self.anchors, damaged_table, anchors_in),
            "labels": (self.labels, damaged_table, self.read_pieces),
            "dataset": (self.dataset / "info.csv", damaged_table, self.read_pieces),
            "report": (self.corpus / REPORT, damaged_json, self.read_reports),
            "recipe": (self.recipe / "recipe.toml", damaged_toml, lambda path: self.results(path)),
        }

    def make_recordings(self, folder: Path) -> None:
        """Notes and anchors of recordings, a dataset, and the report of a corpus."""
        folder.mkdir()
        self.notes, self.anchors, self.dataset = folder / "a.csv", folder / "a.anchors.csv", folder / "dataset"
        self.notes.write_text("start_s,end_s,pitch,velocity\n0.5,1,60,90\n1,2.25,62,80\n")
        self.anchors.write_text("score_s,audio_s\n0,0.5\n2,3.5\n")
        for name in ("audio", "notes", "alignments"):
            (self.dataset / name / "ann").mkdir(parents=True)
        (self.dataset / "audio/ann/one.mp3").touch()
        (self.dataset / "audio.csv").write_text("filename,license,url\none.mp3,PD,x\n")
        head = "filename,collection,violinist_name,source_filename,start,end\n"
        (self.dataset / "info.csv").write_text(head + "one_mov1,ann,Ann One,one.mp3,0:00:03,0:04:13\n")
        (self.dataset / "notes/ann/one_mov1.csv").write_text("onset,pitch\n0,60\n6,62\n")
        self.labels = self.dataset / "alignments/ann/one_mov1.csv"
        self.labels.write_text("start,end\n0.5,1.25\n1.25,2\n")
        spans = ((0.0, 1.5, "clipped"),)
        of_one = TakeReport(
            "a", "a.wav", "score", 0.0, 60.0, True, 3, 2, {}, spans, {"60": 3}, (60, 80, 99), 440.0, -20.0, -3.0, 50.0,
            shift_ms=(-3.0, -1.0, 0.0, 1.0, 3.0),
        )  # fmt: skip
        write_reports(self.corpus, [of_one])

    def read_pieces(self, path: Path) -> object:
        return read_dataset(self.dataset, "bach-violin", None, 40)

    def read_reports(self, path: Path) -> object:
        reports = read_reports(self.corpus)
        return format_reports(reports), json.dumps(summary(reports))

    def play(self, path: Path) -> object:
        return render_in_memory(read_file(path).assign(self.short), self.short, Settings(8_000, duration_s=0.05))

    def build(self, path: Path) -> object:
        return read_file(path).assign(self.short)[0].checkpoint.build()

    def read_notes(self, path: Path) -> object:
        corpus = read_corpus(self.corpus)
        return corpus.read_notes(replace(corpus.pieces[0], score_sha256=sha256(path)))

    def results(self, path: Path) -> object:
        return as_markdown(write_results(read_recipe(self.recipe), self.out))


def fuzz(folder: Path, number: int, seed: int = 0) -> Counter[tuple[str, str]]:
    """Read `number` damaged files; counts of ("read" or "refused") by format. Raises what is not an InputError."""
    formats, counts = Formats(folder), Counter[tuple[str, str]]()
    for path, _, read in formats.table.values():
        read(path)  # the good file: if it could not be read, damage would show nothing
    names = list(formats.table)
    for case in range(number):
        name = names[case % len(names)]
        path, damage, read = formats.table[name]
        good, rng = path.read_bytes(), random.Random(f"{seed} {case}")
        path.write_bytes(damage(good, rng))
        try:
            with bounded():
                read(path)
            counts[name, "read"] += 1
        except InputError as error:
            if "\n" in str(error):
                raise AssertionError(f"more than a line: {error}") from None
            counts[name, "refused"] += 1
        except BaseException as error:
            kept = Path(tempfile.gettempdir()) / f"fuzz-{case}{path.suffix}"
            shutil.copy(path, kept)
            error.add_note(f"case {case} of seed {seed}, {name}: {kept}")
            raise
        path.write_bytes(good)
    return counts


if __name__ == "__main__":
    cases, chosen_seed = (int(word) for word in (sys.argv[1:] + ["10000", "0"][len(sys.argv) - 1 :])[:2])
    with tempfile.TemporaryDirectory() as place:
        found = fuzz(Path(place), cases, chosen_seed)
    for (kind, outcome), n in sorted(found.items()):
        print(f"{kind:10} {outcome:8} {n:6}")
