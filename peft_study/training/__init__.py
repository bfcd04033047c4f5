"""Fine-tuning of a cell."""
