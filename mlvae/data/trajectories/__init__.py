"""Trajectories: sequences of frames with the action between each two of them."""
