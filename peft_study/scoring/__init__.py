"""Scores of a cell's candidates: exact match, CodeBLEU, tests."""
