"""The page `hear.md`: its sounds are there, are small, and are as far from their references as it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from synthnet.audio.files import read_audio
from synthnet.evaluation.cqt import rmse_cqt_at_floors
from synthnet.generation.library import SHIPPED
from synthnet.models.checkpoint import credit_of, peek_checkpoint
from synthnet.score.general_midi import KNOWN_INSTRUMENTS

DOCS = Path(__file__).parents[2] / "docs"
LARGEST_BYTES = 6_000_000
CELL = re.compile(r'src="\.\./([^"]+)"></audio><br>\[([^]]+)\]\(([^)]+)\)')
ROWS = {
    line.split("|")[1].strip() + " " + CELL.findall(line)[0][0]: CELL.findall(line)
    for line in (DOCS / "hear.md").read_text().splitlines()
    if "<audio" in line
}


def test_every_instrument_is_heard_beside_its_reference() -> None:
    titles = [row.split()[0] for row in ROWS]
    others = {"violin-garner", "piano-ishizaka", "french-horn", "harp", "pop", "chamber", "fifteen"}
    assert {who.name for who in KNOWN_INSTRUMENTS} | others == set(titles)
    named = set()
    for cells in ROWS.values():
        assert len(cells) >= 3
        assert cells[0][1] == "reference"
        for source, _, link in cells:
            assert source == link
            assert (DOCS / link).is_file()
            named.add(link)
    on_disk = {str(path.relative_to(DOCS)) for path in (DOCS / "media" / "hear").glob("*.ogg")}
    assert named == on_disk


@pytest.mark.parametrize("name", ["violin-garner", "piano-ishizaka"])
def test_whoever_was_recorded_is_named(name: str) -> None:
    text = (DOCS / "hear.md").read_text()
    for part in credit_of(peek_checkpoint(SHIPPED / f"{name}.safetensors")).split(", "):
        assert part in text


def test_all_sounds_of_the_docs_are_small() -> None:
    sounds = [path for path in DOCS.rglob("*") if path.suffix in (".ogg", ".flac", ".wav", ".mp3")]
    assert sum(path.stat().st_size for path in sounds) <= LARGEST_BYTES


@pytest.mark.parametrize("row", [row for row in ROWS if row.split()[0] in ("trumpet", "violin-garner", "pop")])
def test_figures_are_those_of_the_files(row: str) -> None:
    reference = read_audio(DOCS / ROWS[row][0][0])
    for source, caption, _ in ROWS[row][1:]:
        test = read_audio(DOCS / source)
        n = min(len(reference.samples), len(test.samples))
        at_80, at_50 = rmse_cqt_at_floors(reference.samples[:n], test.samples[:n], test.sample_rate_hz).mean(axis=1)
        shown = [float(figure) for figure in caption.split(" / ")]
        assert shown[1] == pytest.approx(at_50, abs=0.4)  # lossy coding
        assert shown[0] == pytest.approx(at_80, abs=1.5)  # at -80 dB it is most of the noise
