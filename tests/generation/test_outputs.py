"""What `render_score` leaves on the disk: when it is stopped, at any moment, and beside what was there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL, small_weights

from synthnet.audio import mix as mix_module
from synthnet.audio.files import encode, read_audio
from synthnet.generation.library import Seat
from synthnet.generation.render import Rendering, Settings, render_score, stem_name
from synthnet.models.checkpoint import Checkpoint, Voice
from synthnet.score.notes import Note, Score, Track

RATE = 16_000
SEAT = Seat(Checkpoint(SMALL, RATE, ("kazoo",), {}, small_weights()), Voice("kazoo", None))
SCORE = Score(tuple(Track((Note(48 + 7 * n, 100, 0.0, 2.5), Note(50, 90, 2.5, 3.0)), 0, f"part {n}") for n in (0, 1)))
SETTINGS = Settings(RATE, mono=True)


def render(folder: Path, progress: Callable[..., None] = lambda n, numbers: None) -> Rendering:
    return render_score([SEAT] * 2, SCORE, folder / "o.wav", SETTINGS, stems=folder / "s", progress=progress)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_stopped_while_it_plays_it_keeps_what_is_whole(tmp_path: Path) -> None:
    render(tmp_path / "whole")

    def stop(n: int, numbers: object) -> None:
        n_calls.append(n)
        if len(n_calls) == last:
            raise KeyboardInterrupt

    for last, kept_s in ((5, 2.0), (1, 0.0)):
        n_calls: list[int] = []
        folder = tmp_path / f"stopped {last}"
        with pytest.raises(KeyboardInterrupt) as caught:
            render(folder, stop)
        if not kept_s:
            assert not folder.exists()
            continue
        assert files(folder) == ["o.partial.wav", "s/00 part 0.partial.wav", "s/01 part 1.partial.wav"]
        assert "the first 2.0 s are in" in str(caught.value)
        assert str(folder / "o.partial.wav") in str(caught.value)
        part, whole = (read_audio(path).samples for path in (folder / "o.partial.wav", tmp_path / "whole" / "o.wav"))
        assert len(part) == kept_s * RATE
        assert np.corrcoef(part, whole[: len(part)])[0, 1] > 0.9999  # the gain may differ


@pytest.mark.parametrize("n_encoded", [0, 1, 2])
def test_stopped_while_files_are_encoded_no_final_name_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_encoded: int
) -> None:
    render(tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    calls = []

    def stopped(path: Path, *rest: object, **more: object) -> None:
        calls.append(path)
        if len(calls) == n_encoded + 1:
            path.write_bytes(b"half")
            raise KeyboardInterrupt
        encode(path, *rest, **more)

    monkeypatch.setattr(mix_module, "encode", stopped)
    with pytest.raises(KeyboardInterrupt, match=r"o\.partial\.wav"):
        render(tmp_path)
    after = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    assert before.items() <= after.items()
    assert set(after) - set(before) == {name.replace(".wav", ".partial.wav") for name in before}
    for name, content in before.items():  # everything was made
        assert after[name.replace(".wav", ".partial.wav")] == content


def test_until_the_end_nothing_has_a_name(tmp_path: Path) -> None:
    """A process that is killed leaves nothing behind."""
    seen = []
    render(tmp_path, lambda n, numbers: seen.append(files(tmp_path)))
    assert len(seen) > 2
    assert not any(seen)
    assert files(tmp_path) == ["o.wav", "s/00 part 0.wav", "s/01 part 1.wav"]


def test_names_of_stems() -> None:
    names = {
        "Electric Bass": "02 Electric Bass",
        "": "02",
        "../a\\b:c\n": "02 .. a b c",
        "\udce9t\x1b[2J": "02 t [2J",
        "é. ": "02 é",
        "x" * 300: "02 " + "x" * 40,
    }
    for name, stem in names.items():
        assert stem_name(2, Track((), 0, name), ".flac") == f"{stem}.flac"
