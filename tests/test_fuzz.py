"""Damaged inputs end in one line, soon and in little memory; `make fuzz` tries 10,000."""

from __future__ import annotations

from pathlib import Path

from fuzz import fuzz


def test_damaged_inputs_are_read_or_refused(tmp_path: Path) -> None:
    counts = fuzz(tmp_path, 500, seed=7)
    assert sum(counts.values()) == 500
    assert {outcome for _, outcome in counts} == {"read", "refused"}
