"""The recipe `band`: its songs are what its page says, and the page says first who is nearer."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthnet.score.midi import read_score
from tests.experiments.recipe_scripts import recipe_script


def test_the_songs(tmp_path: Path) -> None:
    songs = recipe_script("band/songs")
    for name, n_tracks, n_drums in (("pop", 7, 1), ("chamber", 5, 0), ("fifteen", 14, 1)):
        songs.write_song(name, tmp_path / f"{name}.mid")
        score = read_score(tmp_path / f"{name}.mid")
        assert (len(score.tracks), len(score.drums)) == (n_tracks, n_drums)
        assert 38 < score.end_s < 45
        assert score.left_out == {}
        assert any(track.controls.pan for track in score.tracks)
        before = (tmp_path / f"{name}.mid").read_bytes()
        songs.write_song(name, tmp_path / f"{name}.mid")
        assert (tmp_path / f"{name}.mid").read_bytes() == before


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        ((8.0, 5.0), (9.0, 6.0), "nearer to"),
        ((9.0, 6.0), (8.0, 5.0), "farther from"),
        ((8.0, 6.0), (9.0, 5.0), "at one"),
    ],
)
def test_the_page_says_first_who_is_nearer(ours: tuple, theirs: tuple, verdict: str) -> None:
    song = {"song": "pop", "notes": 10, "played": 8, "tracks": []}
    for player, (at_80, at_50) in (("rendering", ours), ("TimGM6mb", theirs)):
        song[player] = {"rmse_cqt_db": at_80, "rmse_cqt_50_db": at_50, "gain_db": 0.0}
    row = {"track": "Bass", "program": 33, "what": "Bass", "by": "bass"}
    song["tracks"] = [row | {"loudness_db": {"rendering": 1.0, "TimGM6mb": -3.0}}]
    page = recipe_script("band/measure").as_markdown([song])
    assert page.splitlines()[2].startswith(f"**A rendering is {verdict}")
    assert "Networks play 80% of all notes" in page
    assert "the farthest are 1.0 and 3.0 dB off" in page
