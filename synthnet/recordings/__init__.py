"""An instrument's recordings made ready to learn from, with a score or without.

pairs.py        sound files and the notes beside them
datasets.py     the same of public datasets
sound.py        read a recording: one channel, clean, at one rate
alignment.py    find the notes of a score in the sound (averaging.py)
transcribe.py   find notes without a score (basic_pitch.onnx)
notes.py        move these onsets to where the sound rises; levels, velocities
build.py        write the corpus
report.py       how well notes and sound agree
"""
