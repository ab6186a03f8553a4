"""Generation: from notes to audio.

harmonic.py  the player of harmonic instruments (numpy and numba alone)
engine.py    the reference step of the paper's networks; compiled.py the fast one
streams.py   blocks of audio; chunks.py: a piece as chunks side by side
render.py    a score to a sound file
library.py   who plays which track
live.py      an instrument that is played as it sounds
"""
