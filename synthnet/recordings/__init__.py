"""An instrument's recordings made ready to learn from, without a score.

sound.py        read a recording: one channel, clean, at one rate
transcribe.py   find its notes (basic_pitch.onnx)
notes.py        move onsets to where the sound rises; levels, velocities
build.py        write the corpus
"""
