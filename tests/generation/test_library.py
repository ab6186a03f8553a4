"""What can be played: who plays which program and which name, and files in runs/ that are no networks."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Run
from safetensors.torch import save_file

from synthnet.files import InputError
from synthnet.generation.library import SHIPPED, Library, read_file, read_library
from synthnet.generation.render import Settings, render_in_memory
from synthnet.models import build_model, preset_config
from synthnet.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from synthnet.score.general_midi import find_instrument, plain_name
from synthnet.score.notes import Note, Score, Track

RATE = 16_000
CLOCK = iter(range(1_000_000_000, 2_000_000_000))  # of files: each newer than the one before


def save(
    path: Path,
    *instruments: str,
    rate: int = RATE,
    seed: int = 0,
    figures: dict[str, Any] | None = None,
    **training: Any,
) -> Path:
    """A checkpoint of these instruments; newer than all saved before."""
    torch.manual_seed(seed)
    config = preset_config("synthnet", "tiny", styles=len(instruments) if len(instruments) > 1 else 0)
    network = build_model(config)
    with torch.no_grad():  # sharper than a fresh network, so that it can be told from another
        network.head.logits.weight.mul_(8)
    save_checkpoint(path, Checkpoint(config, rate, instruments, training, network.state_dict(), figures=figures or {}))
    now = next(CLOCK)
    os.utime(path, (now, now))
    return path


def of_program(*programs: int) -> dict[str, Any]:
    """Training facts of corpora with these programs."""
    return {"corpora": [{"program": program} for program in programs]}


def score_of(*programs: int) -> Score:
    return Score(tuple(Track((Note(60, 90, 0.0, 0.05),), program) for program in programs))


def library_of(folder: Path, shipped: tuple[str, ...]) -> Library:
    """These are shipped, one file each; own ones are in folder/runs."""
    for name in shipped:
        save(folder / "shipped" / f"{name}.safetensors", name)
    return read_library(folder / "runs", folder / "shipped")


def cast(library: Library, score: Score, spec: str | None = None) -> list[str]:
    """Each track's instrument, where it is (a run by its folder's name), and why."""
    told = []
    for seat in library.assign(score, spec):
        where = seat.where if seat.where == "shipped" else Path(seat.where).parent.name
        told.append(f"{seat.voice.name} {where}: {seat.voice.why}")
    return told


# ------------------------------------------------------------------------------------------------ by program


def test_the_nearest_by_program(tmp_path: Path) -> None:
    save(tmp_path / "runs" / "kazoo" / "best.safetensors", "kazoo", **of_program(41))
    save(tmp_path / "runs" / "guitar" / "best.safetensors", "guitar")
    save(tmp_path / "runs" / "trumpet" / "best.safetensors", "trumpet")
    library = library_of(tmp_path, ("cello", "flute", "piano", "trumpet"))
    expected = {
        56: "trumpet shipped: its program 56",  # although there is an own trumpet
        75: "flute shipped: its program 75",
        41: "kazoo kazoo: its program 41",  # an own one of just this program comes before the family
        40: "cello shipped: nearest to program 40, Violin",  # ... but not for its family
        60: "trumpet shipped: nearest to program 60, French Horn",
        5: "piano shipped: nearest to program 5, Electric Piano 2",
        24: "guitar guitar: its program 24",
        25: "piano shipped: as no instrument of its family (program 25, Acoustic Guitar (steel)) is here",
        114: "piano shipped: as no instrument of its family (program 114, Steel Drums) is here",
    }
    assert cast(library, score_of(*expected)) == list(expected.values())


def test_within_a_family_the_nearest_below_comes_first(tmp_path: Path) -> None:
    library = library_of(tmp_path, ("piano", "choir", "strings", "saxophone", "clarinet", "violin", "cello"))
    played = {player.name: programs for player, programs in library.programs().items()}
    assert played["strings"] == [48, 49, 50, 51]
    assert played["choir"] == [52, 53, 54, 55]
    assert played["saxophone"] == [64, 65, 66, 67, 68, 69, 70]
    assert played["violin"] == [40, 41]


def test_without_a_piano_the_first_shipped_and_without_any_shipped_the_newest_own(tmp_path: Path) -> None:
    library = library_of(tmp_path, ("flute", "cello"))
    assert cast(library, score_of(0))[0].startswith("cello shipped: as no")
    for name in ("flute", "trumpet", "guitar"):
        save(tmp_path / "runs" / name / "last.safetensors", name)
    library = read_library(tmp_path / "runs", tmp_path / "nowhere")
    assert [line.split(":")[0] for line in cast(library, score_of(0, 57))] == ["guitar guitar", "trumpet trumpet"]
    with pytest.raises(InputError, match="no instrument plays by its program yet; make one: "):
        read_library(tmp_path / "nowhere", tmp_path / "nowhere").assign(score_of(0))


def test_a_qualified_name_plays_when_asked_for_and_never_by_program_alone(tmp_path: Path) -> None:
    save(tmp_path / "runs" / "t" / "best.safetensors", "trumpet-mine", **of_program(56))
    save(tmp_path / "shipped" / "trumpet-synthnet.safetensors", "trumpet-synthnet", **of_program(56))
    library = read_library(tmp_path / "runs", tmp_path / "shipped")
    told = r"no instrument plays by its program yet; ask for one by name .*trumpet-synthnet, trumpet-mine"
    with pytest.raises(InputError, match=told):
        library.assign(score_of(56))
    with pytest.raises(InputError, match="no instrument plays by its program yet"):
        library.starting_point("shipped", 56)
    assert library.starting_point("trumpet-synthnet", 0)[1] == "trumpet-synthnet"
    library = library_of(tmp_path, ("cello",))
    assert cast(library, score_of(56))[0].startswith("cello shipped: as no instrument of its family (program 56")
    assert cast(library, score_of(56, 42), "0=Trumpet-SynthNet") == [
        "trumpet-synthnet shipped: as asked",
        "cello shipped: its program 42",
    ]
    save(tmp_path / "runs" / "s" / "best.safetensors", "tenor-sax", **of_program(66))  # "tenor" is no instrument
    library = read_library(tmp_path / "runs", tmp_path / "shipped")
    assert cast(library, score_of(66)) == ["tenor-sax s: its program 66"]


def test_a_shipped_network_of_several_plays_each_by_its_program(tmp_path: Path) -> None:
    save(tmp_path / "shipped" / "all.safetensors", "trumpet", "cello", "kazoo", **of_program(56, 42, 80))
    library = read_library(tmp_path / "runs", tmp_path / "shipped")
    seats = library.assign(score_of(42, 81, 0))
    assert [seat.voice.style.tolist() for seat in seats] == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert seats[0].checkpoint is seats[1].checkpoint  # so that they are generated as one batch


# --------------------------------------------------------------------------------------------------- by name


def test_by_name_the_newest_own_one_comes_first_and_the_shipped_one_last(tmp_path: Path) -> None:
    library = library_of(tmp_path, ("cello", "trumpet"))
    assert cast(library, score_of(0, 0), "TRUMPET") == ["trumpet shipped: as asked"] * 2
    save(tmp_path / "runs" / "b" / "best.safetensors", "trumpet")
    save(tmp_path / "runs" / "a" / "best.safetensors", "trumpet")
    save(tmp_path / "runs" / "c" / "best.safetensors", "flute", "cello")
    library = read_library(tmp_path / "runs", tmp_path / "shipped")
    assert cast(library, score_of(0, 42, 56), "0=s56") == [
        "trumpet a: as asked",
        "cello shipped: its program 42",
        "trumpet shipped: its program 56",
    ]
    assert cast(library, score_of(0), "cello") == ["cello c: as asked"]
    save(tmp_path / "runs" / "b" / "last.safetensors", "trumpet")  # b goes on, but its best is older
    assert cast(read_library(tmp_path / "runs", tmp_path / "shipped"), score_of(0), "trumpet") == [
        "trumpet a: as asked"
    ]


def test_a_mixture_is_made_within_one_network(tmp_path: Path) -> None:
    save(tmp_path / "runs" / "both" / "best.safetensors", "trumpet", "cello")
    save(tmp_path / "runs" / "newer" / "best.safetensors", "trumpet")
    library = library_of(tmp_path, ("cello", "flute", "trumpet"))
    (seat,) = library.assign(score_of(0), "0=Cello:0.5+trumpet:2")
    assert (Path(seat.where).parent.name, seat.voice.style.tolist()) == ("both", [2, 0.5])
    for spec, line in [
        ("cello:0.5+flute:0.5", "none here learned cello and flute"),
        ("flute:1", "none here learned flute"),
        ("cello:0.5+horn:0.5", "no instrument 'horn'; there are: cello, flute, trumpet"),
        ("horn", "no instrument 'horn'; there are: cello, flute, trumpet (see synthnet instruments)"),
        ("", "an instrument's name is missing; there are: cello, flute, trumpet"),
    ]:
        with pytest.raises(InputError, match=re.escape(line)):
            library.assign(score_of(0), spec)


def test_a_kind_that_is_asked_for_plays_the_programs_that_it_has(tmp_path: Path) -> None:
    save(tmp_path / "runs" / "own" / "best.safetensors", "horn", **of_program(60))
    library = library_of(tmp_path, ("cello", "trumpet"))
    assert [seat.voice.name for seat in library.assign(score_of(60, 42), kind="synthnet")] == ["horn", "cello"]
    assert [seat.voice.name for seat in library.assign(score_of(57, 42), kind="synthnet")] == ["trumpet", "cello"]
    assert library.assign(score_of(60), kind="wavenet")[0].voice.name == "horn"


def test_where_a_training_starts_from(tmp_path: Path) -> None:
    own = save(tmp_path / "runs" / "own" / "best.safetensors", "flute", "kazoo", **of_program(75, 41))
    library = library_of(tmp_path, ("cello", "flute", "piano"))
    shipped = tmp_path / "shipped"
    for text, program, expected in [
        ("shipped", 75, (shipped / "flute.safetensors", "flute")),
        ("shipped", 41, (shipped / "cello.safetensors", "cello")),  # an own one is not shipped
        ("shipped", 120, (shipped / "piano.safetensors", "piano")),
        ("FLUTE", 0, (own, "flute")),
        ("kazoo", 0, (own, "kazoo")),
        ("S42", 0, (shipped / "cello.safetensors", "cello")),
        ("some/file.safetensors", 0, (Path("some/file.safetensors"), None)),
    ]:
        assert library.starting_point(text, program) == expected, text
    with pytest.raises(InputError, match="no instrument 'horn'"):
        library.starting_point("horn", 0)
    with pytest.raises(InputError, match="no instrument plays by its program yet"):
        read_library(tmp_path / "runs", tmp_path / "nowhere").starting_point("shipped", 0)


# -------------------------------------------------------------------------------- the instruments of one file


def one_file(folder: Path, *instruments: str, **training: Any) -> Library:
    return read_file(save(folder / "net.safetensors", *instruments, **training))


def test_all_instruments_of_a_file_play_by_program(tmp_path: Path) -> None:
    seats = one_file(tmp_path, "piano", "cello", "trumpet-mine", **of_program(1, 42, 56)).assign(
        score_of(1, 0, 42, 41, 56, 60, 99)
    )
    assert [(seat.voice.name, seat.voice.why) for seat in seats] == [
        ("piano", "its program 1"),
        ("piano", "nearest to program 0, Acoustic Grand Piano"),
        ("cello", "its program 42"),
        ("cello", "nearest to program 41, Viola"),
        ("trumpet-mine", "its program 56"),
        ("trumpet-mine", "nearest to program 60, French Horn"),
        ("piano", "as no instrument of its family (program 99, FX 4 (atmosphere)) is here"),
    ]
    (seat,) = one_file(tmp_path, "trumpet").assign(score_of(99), "S56")
    assert (seat.voice.name, seat.voice.style, seat.voice.why) == ("trumpet", None, "as asked")


def test_numbered_tracks_are_as_asked_and_the_others_go_by_their_programs(tmp_path: Path) -> None:
    library = one_file(tmp_path, "piano", "cello", "trumpet")
    seats = library.assign(score_of(0, 60, 0, 42), "3=trumpet, 0 = S42")
    assert [seat.voice.name for seat in seats] == ["cello", "trumpet", "piano", "trumpet"]
    assert [seat.voice.why for seat in seats[::3]] == ["as asked"] * 2
    for spec in ("cello", "CeLLo", "s42", " cello "):
        assert [seat.voice.name for seat in library.assign(score_of(0, 56, 99), spec)] == ["cello"] * 3


def test_a_mixture_is_the_weighted_sum_of_instruments_as_written(tmp_path: Path) -> None:
    library = one_file(tmp_path, "piano", "cello", "trumpet")
    for seat in library.assign(score_of(0, 56), "Cello:0.3+trumpet:10"):
        assert seat.voice.style.tolist() == [0, 0.3, 10]  # not normalised
        assert (seat.voice.name, seat.voice.why) == ("cello:0.3+trumpet:10", "as asked")
    seats = library.assign(score_of(0, 0, 0), "0=piano:0.25 + S56:1e-1,2=cello:1.5+cello:0.5")
    assert [seat.voice.style.tolist() for seat in seats] == [[0.25, 0, 0.1], [1, 0, 0], [0, 2, 0]]


def test_a_mixture_of_one_with_weight_1_is_that_instrument_to_the_bit(tmp_path: Path) -> None:
    library, score = one_file(tmp_path, "piano", "cello", "trumpet"), score_of(0)

    def audio(spec: str) -> np.ndarray:
        return render_in_memory(
            library.assign(score, spec), score, Settings(RATE, 0.0625, mean=False, n_chunks=1)
        ).samples

    cello = audio("cello")
    assert np.array_equal(audio("cello:1.0"), cello)
    assert np.array_equal(audio("cello:0.5+cello:0.5"), cello)
    for spec in ("trumpet", "cello:0.5", "cello:1+trumpet:1"):
        assert not np.array_equal(audio(spec), cello), spec


def test_the_names_of_a_file_come_before_codes_and_forms(tmp_path: Path) -> None:
    own = ("Kazoo", "S42", "cello", "saw+square", "a,b=c", "kazoo")
    library = one_file(tmp_path, *own)
    for spec, name in [
        ("Kazoo", "Kazoo"),
        ("kazoo", "kazoo"),
        ("s42", "S42"),  # not the cello, whose code it is
        ("SAW+square", "saw+square"),
        ("A,b=c", "a,b=c"),
        ("0=saw+square", "saw+square"),
    ]:
        (seat,) = library.assign(score_of(0), spec)
        assert (seat.voice.name, int(np.argmax(seat.voice.style))) == (name, own.index(name)), spec


def test_errors_are_one_line_that_says_what_would_be_right(tmp_path: Path) -> None:
    library = one_file(tmp_path, "piano", "cello", "trumpet")
    no_horn, missing = "no instrument 'horn'; there are: piano, cello, trumpet", "an instrument's name is missing"
    slips = dict.fromkeys(("horn", "0=horn", "cello:0.5+horn:0.5"), no_horn)
    slips |= dict.fromkeys(("", " ", "0="), missing) | {"S75": "no instrument 'S75'"}
    slips |= {f"{number}=cello": f"no track '{number}'; there are 2 tracks, 0 to 1" for number in ("2", "-1", "x", "")}
    slips |= {"9" * 5000 + "=cello": "there are 2 tracks, 0 to 1"}
    slips |= dict.fromkeys(("0=cello,0=trumpet", "0=cello, 0=cello"), "track 0 is named twice")
    for part in ("cello:loud", "cello:0", "cello:-0.5", "cello:nan", "cello:inf", "cello:10.1", "cello:", ":0.5", ""):
        slips[f"{part}+trumpet:1"] = slips[f"trumpet:1+{part}"] = f"{part!r} is not NAME:WEIGHT, with a weight above 0"
    slips |= {"cello+trumpet": "'cello' is not NAME:WEIGHT", "cello:1+trumpet": "'trumpet' is not NAME:WEIGHT"}
    slips |= dict.fromkeys(("0=cello,", ",", "0=cello,,1=trumpet"), "'' has no track number; the form is 0=cello")
    slips |= dict.fromkeys(("cello,1=trumpet", "cello,trumpet"), "'cello' has no track number; the form is 0=cello")
    slips |= {"0=cello,trumpet:0.5": "'trumpet:0.5' has no track number"}
    for spec, line in slips.items():
        with pytest.raises(InputError, match=re.escape(line)) as caught:
            library.assign(score_of(0, 56), spec)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"no track '1'; there is 1 track, number 0$"):
        library.assign(score_of(0), "1=cello")
    for spec in ("trumpet:1", "1=trumpet:0.5"):
        with pytest.raises(InputError, match="a mixture is made within one network of several"):
            one_file(tmp_path, "trumpet").assign(score_of(0, 56), spec)


# ------------------------------------------------------------------------------------------------ the command


def test_the_table_of_instruments(run: Run, tmp_path: Path) -> None:
    damaged = tmp_path / "runs" / "cut" / "best.safetensors"
    ranges = [{"lowest_pitch": 50, "highest_pitch": 71}]
    save(tmp_path / "runs" / "kazoo" / "best.safetensors", "kazoo", **of_program(41), ranges=ranges)
    (tmp_path / "runs" / "kazoo" / "state.safetensors").write_bytes(b"not looked at")
    training = {"corpora": "?", "ranges": [{"lowest_pitch": None}]}
    figures = {"validation": {"rmse_cqt_expectation_db": 11.26}}
    save(tmp_path / "runs" / "odd" / "last.safetensors", "odd", figures=figures, **training)
    evaluated = {
        "flute": {"rmse_cqt_expectation_db": 9.0, "pieces": []},
        "cello": {
            "rmse_cqt_expectation_db": 9.0,
            "pieces": [
                {"expectation": {"rmse_cqt_db": 7.0, "rmse_cqt_50_db": 4.0}},
                {"expectation": {"rmse_cqt_db": 8.5, "rmse_cqt_50_db": 6.0}},
            ],
        },
    }
    save(tmp_path / "runs" / "two" / "best.safetensors", "flute", "cello", figures={"evaluations": evaluated})
    damaged.parent.mkdir()
    damaged.write_bytes((tmp_path / "runs" / "odd" / "last.safetensors").read_bytes()[:-100])
    (tmp_path / "runs" / "foreign").mkdir()
    save_file({"x": torch.zeros(3)}, tmp_path / "runs" / "foreign" / "last.safetensors")
    (tmp_path / "runs" / "folder" / "best.safetensors").mkdir(parents=True)
    (tmp_path / "runs" / "empty").mkdir()

    shown = run("instruments")
    assert shown.status == 0
    table = [re.split(r"  +", line) for line in shown.out.splitlines()]
    assert table[0] == [
        *("instrument", "program", "plays", "keys", "kind", "size", "licence"),
        *("rate, Hz", "RMSE-CQT -80 / -50, dB", "where"),
    ]
    names = [path.stem for path in sorted(SHIPPED.glob("*.safetensors"))]
    assert [(row[0], row[-1]) for row in table[1 : 1 + len(names)]] == [(name, "shipped") for name in names]
    shared = ["synthnet", "0.0 MB", "your own", "16000"]
    assert table[1 + len(names) :] == [
        ["flute", "75", "when asked for", "36 C2 to 96 C7", *shared, "9.0", "runs/two/best.safetensors"],
        ["cello", "42", "when asked for", "36 C2 to 81 A5", *shared, "7.8 / 5.0", "runs/two/best.safetensors"],
        ["odd", "unknown", "when asked for", "unknown", *shared, "~11.3", "runs/odd/last.safetensors"],
        ["kazoo", "41", "41", "50 D3 to 71 B4", *shared, "unknown", "runs/kazoo/best.safetensors"],
    ]
    violin = next(row for row in table if row[0] == "violin")
    assert violin[1:7] == ["40", "40", "55 G3 to 100 E7", "harmonic", "0.5 MB", "MIT"]
    told = sorted(shown.err.splitlines())
    assert len(told) == 3
    for line, name in zip(told, ("cut", "folder", "foreign"), strict=True):
        assert line.startswith(f"cannot be played: runs/{name}/")
    everyone = json.loads(run("instruments", "--json").out)
    assert [who["name"] for who in everyone if who["shipped"]] == names
    facts = {who["name"]: who for who in everyone if not who["shipped"]}
    assert (facts["cello"]["rmse_cqt_db"], facts["cello"]["rmse_cqt_50_db"]) == (7.75, 5.0)
    assert (facts["kazoo"]["plays"], facts["kazoo"]["kind"], facts["kazoo"]["licence"]) == ([41], "synthnet", None)
    everywhere = sorted(program for who in everyone for program in who["plays"])
    assert everywhere == list(range(115))  # percussion and effects beyond are the sound font's
    assert facts["cello"]["evaluated"] is True
    assert (facts["odd"]["program"], facts["odd"]["lowest_pitch"], facts["odd"]["evaluated"]) == (None, None, False)


# -------------------------------------------------------------------------------------------- what is shipped


def test_shipped_files_are_small_known_and_come_with_a_card() -> None:
    files = sorted(SHIPPED.iterdir())
    networks = [path for path in files if path.suffix == ".safetensors"]
    assert networks
    assert {path.suffix for path in files} <= {".safetensors", ".md"}
    assert sum(path.stat().st_size for path in files) <= 25_000_000
    library = read_library(Path("nowhere"))
    assert library.errors == ()
    for player in library.players:
        assert player.program == find_instrument(plain_name(player.name)).program
        assert player.evaluated
        assert player.rmse_cqt_db is not None
    for path in networks:
        assert load_checkpoint(path).build()  # reads the weights, too
        card = path.with_suffix(".md").read_text("utf-8")
        for word in ("corpus", "RMSE-CQT"):
            assert word.lower() in card.lower(), (path, word)
