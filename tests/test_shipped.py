"""The shipped instruments: complete, small, and as near to their teacher as when they were made."""

from __future__ import annotations

import json

import pytest
from golden.make_shipped import GOLDEN, figures_of

from synthnet.corpus.teacher import FLUIDR3
from synthnet.generation.library import SHIPPED, read_library
from synthnet.models import HarmonicConfig
from synthnet.models.checkpoint import load_checkpoint
from synthnet.score.general_midi import INSTRUMENTS, KNOWN_INSTRUMENTS, family_of, find_instrument

NAMES = [who.name for who in KNOWN_INSTRUMENTS]
LARGEST_BYTES = 1_000_000
ALLOWED_DB = 0.3


def test_instruments_ship_each_with_its_card_and_below_a_megabyte() -> None:
    assert len(NAMES) >= 17
    assert {who.name for who in INSTRUMENTS} <= set(NAMES)
    for name in NAMES:
        assert (SHIPPED / f"{name}.safetensors").stat().st_size < LARGEST_BYTES
        assert (SHIPPED / f"{name}.md").is_file()
        checkpoint = load_checkpoint(SHIPPED / f"{name}.safetensors")
        assert isinstance(checkpoint.config, HarmonicConfig)
        assert checkpoint.programs == (find_instrument(name).program,)


def test_every_family_of_pitched_instruments_has_one_that_plays_it() -> None:
    """All families that pitched instruments stand for; effects, ethnic and percussive ones fall to the piano."""
    assert {family_of(find_instrument(name).program) for name in NAMES} == set(range(12))
    library = read_library(runs=SHIPPED / "no runs")
    for program in range(96):
        player, _ = library.nearest(program)
        assert family_of(find_instrument(player.name).program) == family_of(program)


@pytest.mark.skipif(not FLUIDR3.is_file(), reason="the teacher's sound font is not installed")
@pytest.mark.parametrize("name", NAMES)
def test_figures_are_those_of_the_day_it_was_made(name: str) -> None:
    golden, found = json.loads(GOLDEN.read_text("utf-8"))[name], figures_of(find_instrument(name))
    for figure, value in golden.items():
        assert found[figure] == pytest.approx(value, abs=ALLOWED_DB), figure
    assert abs(found["level_db"]) < 1.5  # so that instruments are balanced as the teacher balances them
