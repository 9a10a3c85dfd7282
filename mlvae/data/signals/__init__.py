"""Sounds: reading of WAV files, and spectrograms."""
