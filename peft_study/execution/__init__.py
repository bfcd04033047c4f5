"""Runs untrusted code: what it may touch and for how long, and what its output is worth."""
