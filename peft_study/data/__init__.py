"""Samples, prompts and tokens."""
