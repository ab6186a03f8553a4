"""Training: settings.py chooses model and recipe, tasks.py makes slices and validates, run.py trains in a folder,
trainer.py is the loop, state.py saves and resumes, muon.py is an optimiser for matrices.
"""
