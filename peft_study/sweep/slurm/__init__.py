"""Cells as jobs of a Slurm cluster: submission, queue, and how jobs ended."""
