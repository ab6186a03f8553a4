"""Training: settings.py what is trained, tasks.py what each kind of model learns from, run.py a run in a folder,
trainer.py the loop, state.py what is saved and resumed, muon.py an optimiser for matrices.
"""
