"""Cells as jobs of a cluster: what they need, how they are submitted, and how jobs of Slurm and tasks of Ray ended."""
