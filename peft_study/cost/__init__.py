"""Cost of a cell: time and memory of each phase, measured and predicted."""
