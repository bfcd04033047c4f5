"""Retrievers, which find the training samples that are most similar to a prompt."""
