"""Evaluation: one metric a file, then what is measured with them.

cqt.py         RMSE-CQT
spectral.py    log-spectral distance
likelihood.py  cross-entropy and score gain
pitch.py       right notes
level.py       level, bursts, collapse
notes.py       level and brightness of single notes
free_run.py    seconds generated from the score alone; pieces.py: whole pieces, and what is good
measure.py     any instrument beside its baselines (baselines.py), on composed pieces (compose.py)
systems.py     other programs' recordings beside them, in one table
listening.py   a listening test as a page; opinions.py: what its listeners say
layers.py      what layers know: answers to keys, Gram matrices
plots.py       pictures of sounds and scores; charts.py: of figures
"""
