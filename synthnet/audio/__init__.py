"""Sound files (files.py), the mix (mix.py), its meters (meters.py), and mu-law classes with their dither (mulaw.py)."""

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1_000, 768_000  # of sound files, and of networks
