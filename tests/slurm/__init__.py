"""Tests with a real Slurm: `make test-slurm`."""
