"""Turning a score into audio with a trained network."""
