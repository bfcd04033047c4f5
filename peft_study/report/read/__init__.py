"""Reads results of cells into one frame of rows."""
