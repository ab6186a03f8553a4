"""Scores: notes, MIDI files, General MIDI, piano rolls, training music. No audio, no torch.

notes.py         Note, Track, Score
controllers.py   Controls: pitch, vibrato and gain over time, from bends, modulation, volume and expression
midi.py          read_score, write_midi; smf.py makes events of a file's bytes, channels.py makes notes of events
general_midi.py  instruments, programs, families, pitch names
roll.py          events in samples, piano rolls; the only place where seconds become samples
etudes.py        seeded training music; dynamics.py gives a plain score velocities
"""
