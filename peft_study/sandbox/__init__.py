"""Runs untrusted programs: the parent's side, a pool of workers that each run one test at a time."""
