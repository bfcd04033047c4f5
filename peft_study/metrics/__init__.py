"""Scores of candidates against references."""
