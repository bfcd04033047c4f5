"""Runs untrusted programs in a pool of workers, each with one test at a time. This is the parent's side."""
