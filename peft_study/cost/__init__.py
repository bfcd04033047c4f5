"""What a cell costs: time and memory, by phase."""
