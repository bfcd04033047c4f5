"""Beam search over the test split."""
