"""Instruments of the questions: codes, probes, distances, bounds, metrics."""
