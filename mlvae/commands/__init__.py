"""The commands: train, evaluate, prepare, reproduce and benchmark.

This is the only package of the library that imports Hydra; ``benchmark`` does without it.
"""
