"""The folder of a cell: the schema of its result, its files and its provenance. Needs no torch."""
