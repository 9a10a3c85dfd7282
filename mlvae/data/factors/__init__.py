"""Observations that are combinations of known factors."""
