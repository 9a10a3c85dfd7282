"""Fast training steps: capture, compilation, plans ahead, compiled updates."""
