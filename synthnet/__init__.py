"""SynthNet: neural instruments. Learn an instrument from nine minutes of music, then play any score."""

__version__ = "0.1.0"
