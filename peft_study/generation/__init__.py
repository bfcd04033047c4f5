"""Beam search and sampling over the test split."""
