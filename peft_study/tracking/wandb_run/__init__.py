"""The run of a cell in Weights & Biases: its identity, its settings, its files, and the process that uploads it."""
