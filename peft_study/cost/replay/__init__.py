"""One training step and one step of generation on tensors without data, to count what they would allocate."""
