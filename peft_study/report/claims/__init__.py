"""Checks the paper's claims against rows, and compares studies with each other."""
