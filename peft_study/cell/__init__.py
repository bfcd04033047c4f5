"""Runs one cell: load, train, generate, score."""
