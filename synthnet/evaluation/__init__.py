"""Evaluation: one metric a file.

cqt.py         RMSE-CQT
spectral.py    log-spectral distance
likelihood.py  cross-entropy and score gain
pitch.py       right notes
level.py       levels over time
distances.py   all distances of a sound from its reference
free_run.py    seconds generated from the score alone; pieces.py: whole pieces
notes.py       single notes; measure.py: an instrument beside its baselines (baselines.py)
plots.py       figures
"""
