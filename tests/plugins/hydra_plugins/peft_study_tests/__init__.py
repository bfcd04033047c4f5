"""Plugins of the tests, which Hydra finds where this folder's parent is on the path."""
