"""Tests that assert: which assertions they hold, how each is taken apart, and what proves that it held."""
