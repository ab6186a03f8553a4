"""An instrument's recordings made ready to learn from, with a score or without.

pairs.py        sound files and the notes beside them
datasets.py     the same of public datasets
sound.py        read a recording: one channel, clean, at one rate; levels of its tones
alignment.py    find the notes of a score in the sound
transcribe.py   find notes without a score (basic_pitch.onnx)
notes.py        check these notes; levels, velocities
averaging.py    move onsets, of a score or transcribed, to where notes of a key are alike
build.py        write the corpus
report.py       how well notes and sound agree
"""
