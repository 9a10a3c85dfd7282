"""Observations that are read when they are needed: the protocol, and sources that meet it."""
