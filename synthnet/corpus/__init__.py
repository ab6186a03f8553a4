"""Corpora: the recordings of one instrument and their scores.

corpus.py   read a corpus
build.py    have the teacher (teacher.py, FluidSynth) play scores
slices.py   training slices
"""
