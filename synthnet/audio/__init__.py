"""Sound files (files.py), and mu-law classes with their dither (mulaw.py)."""
