"""Training: settings.py decides what is trained, tasks.py makes slices and validates, run.py trains in a folder.

trainer.py is the loop, learner.py follows gradients (muon.py for matrices), monitor.py shows progress and validates,
state.py saves and resumes, resident.py trains on a GPU.
"""
