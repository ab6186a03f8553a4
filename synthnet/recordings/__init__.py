"""An instrument's recordings made ready to learn from, with a score or without.

sound.py        read a recording: one channel, clean, at one rate
transcribe.py   find its notes (basic_pitch.onnx)
alignment.py    or lay a score over it
averaging.py    put onsets where notes of a key are alike
notes.py        move onsets to where the sound rises; levels, velocities
build.py        write the corpus
"""
