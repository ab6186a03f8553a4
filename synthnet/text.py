"""How numbers are shown to a person."""

from __future__ import annotations


def clock(seconds: float) -> str:
    """Minutes and seconds, or hours and minutes, to read at a glance."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes}:{rest:02d}"
