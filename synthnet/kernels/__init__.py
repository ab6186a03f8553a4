"""Fast code on arrays: matrix tiles, elementary functions, harmonic oscillators. Each has a slow twin and a test."""
