"""Everything that a person or a dashboard watches while a cell runs."""
