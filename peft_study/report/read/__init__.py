"""Reads results into one frame of rows."""
