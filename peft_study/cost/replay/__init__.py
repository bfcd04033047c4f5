"""Replay a training step and the last steps of generation on tensors without data, to count their bytes."""
