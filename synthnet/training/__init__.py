"""Training.

settings.py  everything that decides what is trained, and for how long
run.py       a run in a folder
trainer.py   the loop
muon.py      an optimiser for matrices
"""
